-- Returns the alert targets of the organization that must receive a change of a finding, one row per target.
-- An enabled target receives the finding's beginning and the changes that follow it if the target's kinds, minimum_severity and
-- owners match the finding. A target that has received the beginning receives all later changes and the end, even if the target
-- is disabled now or no longer matches. No other target receives the end.
-- Parameters: organization_id; finding_id; kind; agents: the ids of the finding's agents; severities: the finding's severity and
-- all lower severities; follows: whether the change comes after the beginning; ends: whether the change is the end;
-- is_for_new_receivers: whether to leave out targets that already show the finding as ongoing.
--
-- example: severities={info}; kind=spike; follows=true; ends=false; is_for_new_receivers=false
select targets.target_id
from alert_targets as targets
cross join lateral (
    select coalesce((
        select deliveries.change
        from alert_deliveries as deliveries
        where
            deliveries.organization_id = %(organization_id)s
            and deliveries.finding_id = %(finding_id)s
            and deliveries.target_id = targets.target_id
            and deliveries.abandoned_at is null
        order by deliveries.created_at desc
        limit 1
    ), 'resolved') <> 'resolved' as has_begun
) as received
where
    targets.organization_id = %(organization_id)s
    and (
        (
            targets.enabled
            and not %(ends)s::boolean
            and targets.minimum_severity = any (%(severities)s::text[])
            and (targets.kinds is null or %(kind)s = any (targets.kinds))
            and (
                targets.owners is null
                or exists (
                    select
                    from agents
                    where
                        agents.organization_id = %(organization_id)s
                        and agents.agent_id = any (%(agents)s::uuid[])
                        and agents.owner = any (targets.owners)
                )
            )
            and not (%(is_for_new_receivers)s::boolean and received.has_begun)
        )
        or (%(follows)s::boolean and received.has_begun)
    )
order by targets.target_id
