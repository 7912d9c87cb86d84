-- The alert targets of the organization that a change of a finding is sent to: each enabled one that wants findings of this
-- kind and severity and about one of these agents, and each, enabled or not, that has received the finding's beginning and
-- not its end: it receives what follows, though the finding's kind, the agent's owner or what it wants has changed. One row a
-- target.
-- Parameters: organization_id; finding_id; kind; agents: ids of those that the finding is about; severities: this one and
-- those that are less urgent; follows: whether something follows the beginning; ends: whether this is the end, which only
-- those receive that received something before; others: whether those are left out that have received the beginning and not
-- the end.
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
