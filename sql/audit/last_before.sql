-- Returns the last audit event that may be pruned from an organization's chain: this event and all earlier events are older than
-- cutoff. One row: sequence, hash, and events: the number of events up to and including this event. Returns no row if there is
-- no such event.
-- Parameters: organization_id; cutoff (timestamptz).
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
