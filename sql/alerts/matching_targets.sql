-- Returns one row for each enabled alert target of the organization that wants findings of this kind and severity, and for
-- each, enabled or not, that has received this finding's beginning: it receives what follows, though the finding's kind or what it
-- wants has changed.
-- Parameters: organization_id, finding_id, kind, severities (this one and those that are less urgent), follows (whether
-- something follows the beginning), ends (whether this is the end, which only those receive that received something before).
select target_id
from alert_targets
where organization_id = %(organization_id)s
    and (
        (enabled and not %(ends)s::boolean and minimum_severity = any(%(severities)s::text[]) and (kinds is null or %(kind)s = any(kinds)))
        or (%(follows)s::boolean and (
            select change
            from alert_deliveries
            where alert_deliveries.organization_id = %(organization_id)s
                and alert_deliveries.finding_id = %(finding_id)s
                and alert_deliveries.target_id = alert_targets.target_id
                and alert_deliveries.abandoned_at is null
            order by alert_deliveries.created_at desc
            limit 1
        ) <> 'resolved')
    )
order by target_id
