-- Returns the delivery of an alert target that has been due for longest, or no row if none is due. A delivery is not due while an
-- earlier change of the delivery's finding is undelivered. organization_name and agent_owner are the current names of the
-- organization and of the owner of the finding's agent.
-- Parameters: organization_id, target_id; at: the current time.
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
