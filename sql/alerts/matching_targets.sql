-- Returns the alert targets of the organization that receive a change of a finding. An enabled target receives the change if it
-- wants findings of this kind, of this severity and about one of these agents. A target that has received the finding's beginning
-- also receives each later change until the finding's end, even if the target is now disabled or no longer wants the finding.
-- Returns one row per target.
-- Parameters: organization_id; finding_id; kind; agents: the ids of the finding's agents; severities: the finding's severity and
-- all lower ones; follows: whether the change comes after the beginning; ends: whether the change is the end; others: whether to
-- leave out targets that have received the beginning but not the end.
--
-- example: severities={info}; kind=spike; follows=true; ends=false; others=false
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
            and not (%(others)s::boolean and received.has_begun)
        )
        or (%(follows)s::boolean and received.has_begun)
    )
order by targets.target_id
