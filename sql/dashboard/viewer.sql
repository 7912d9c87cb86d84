-- The viewer of the dashboard and the organization. One row; no row if the agent is suspended, deleted or unknown, no
-- longer has the scope, or if its token, or one of its credentials since it signed in, was revoked. Counts nothing: a
-- page is not a request to the API.
-- Parameters: organization_id; agent_id; jti: of the token; scope: what the agent must still have; signed_in_at
-- (timestamptz), or null for a token that was issued to be used elsewhere.
--
-- example: scope=analytics:read
select organizations.name as organization_name, agents.name as agent_name, agents.scopes
from active_agents as agents
join organizations using (organization_id)
where
    agents.organization_id = %(organization_id)s
    and agents.agent_id = %(agent_id)s
    and %(scope)s = any (agents.scopes)
    and not exists (
        select
        from revoked_tokens
        where revoked_tokens.organization_id = %(organization_id)s and revoked_tokens.jti = %(jti)s
    )
    -- A session does not say which credential opened it.
    and not exists (
        select
        from credentials
        where
            credentials.organization_id = %(organization_id)s
            and credentials.agent_id = %(agent_id)s
            and credentials.revoked_at >= %(signed_in_at)s::timestamptz
    )
