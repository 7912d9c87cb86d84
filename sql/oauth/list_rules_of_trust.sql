-- Returns the rules of trust of an organization that are not revoked, including expired rules. One row per rule, sorted by agent
-- and then by age, oldest first: agent_id, credential_id, trust.
-- Parameters: organization_id; agent_id (null: all agents).
--
-- for: operator
-- example: agent_id=null
select agent_id, credential_id, trust
from credentials
where
    organization_id = %(organization_id)s
    and (%(agent_id)s::uuid is null or agent_id = %(agent_id)s::uuid)
    and trust is not null
    and revoked_at is null
order by agent_id, created_at, credential_id
