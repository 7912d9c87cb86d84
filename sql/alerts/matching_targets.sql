-- Returns one row for each enabled alert target of the organization that wants findings of this kind and severity.
-- Parameters: organization_id, kind, severities (this one and those that are less urgent).
select target_id
from alert_targets
where organization_id = %(organization_id)s
    and enabled
    and minimum_severity = any(%(severities)s::text[])
    and (kinds is null or %(kind)s = any(kinds))
order by target_id
