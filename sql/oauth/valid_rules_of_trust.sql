-- Returns the valid rules of trust of an organization's active agents, or of one active agent, one row per rule, oldest first:
-- agent_id, agent_name, credential_id, label, trust.
-- Parameters: organization_id; agent_id (or null for all agents); max_rules; at (timestamptz).
--
-- max-pages-read: 8000, the agents of a thousand rules
-- example: agent_id=null
select rules.agent_id, active.name as agent_name, rules.credential_id, rules.label, rules.trust
from (
    select agent_id, credential_id, label, trust, created_at
    from credentials
    where
        organization_id = %(organization_id)s
        and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
        -- Every rule meets this condition, which lets the planner use the small index of rules instead of reading all credentials.
        and trust_selector >= nil_uuid()
        and is_credential_in_force(expires_at, revoked_at, %(at)s)
    offset 0
) as rules
cross join lateral (
    select name
    from active_agents
    where organization_id = %(organization_id)s and agent_id = rules.agent_id
    offset 0
) as active
order by rules.created_at, rules.credential_id
limit %(max_rules)s
