-- Returns the due delivery of a target that has waited longest. A delivery waits until earlier changes of the same finding are
-- delivered. Returns one row, or no row if nothing is due. The organization's name and the owner of the finding's agent are the
-- current ones.
-- Parameters: organization_id, target_id, at.
select
    delivery_id,
    payload,
    created_at,
    attempts,
    (select name from organizations where organization_id = %(organization_id)s) as organization_name,
    (
        select owner
        from agents
        where
            agents.organization_id = %(organization_id)s
            and agents.agent_id = (alert_deliveries.payload ->> 'agent_id')::uuid
    ) as agent_owner
from alert_deliveries
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
    and delivered_at is null
    and abandoned_at is null
    and next_attempt_at <= %(at)s
    and not exists (
        select
        from alert_deliveries as earlier
        where earlier.organization_id = %(organization_id)s
            and earlier.target_id = alert_deliveries.target_id
            and earlier.finding_id = alert_deliveries.finding_id
            and earlier.created_at < alert_deliveries.created_at
            and earlier.delivered_at is null
            and earlier.abandoned_at is null
    )
order by next_attempt_at
limit 1
