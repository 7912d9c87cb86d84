-- Returns the delegation rules of an organization, one row per rule, oldest first: the rule's columns, and agents: the names of
-- the agents that may act by the rule, in the order of agent_ids, without deleted agents. Parameters: organization_id.
select
    {delegation_rule},
    array(
        select acting.name
        from unnest(delegation_rules.agent_ids) with ordinality as rule_agents (agent_id, place)
        -- This lateral join looks up each agent by the primary key, because a plain join that was planned on an empty table would
        -- read all agents.
        cross join lateral (
            select agents.name
            from agents
            where
                agents.organization_id = %(organization_id)s
                and agents.agent_id = rule_agents.agent_id
                and is_not_deleted(agents.deleted_at)
            offset 0
        ) as acting
        order by rule_agents.place
    ) as agents
from delegation_rules
where organization_id = %(organization_id)s
order by created_at, delegation_rule_id
