-- The last event of an organization's chain that is older than an instant and follows older ones only, for the operator.
-- One row: sequence, hash, and events, how many there are up to it; none if there is none. Parameters: organization_id;
-- cutoff (timestamptz); at is not used.
--
-- for: operator
select sequence, hash, count(*) over () as events
from audit_events
where
    organization_id = %(organization_id)s
    and sequence < coalesce(
        (
            select min(sequence)
            from audit_events
            where organization_id = %(organization_id)s and at >= %(cutoff)s::timestamptz
        ),
        9223372036854775807
    )
order by sequence desc
limit 1
