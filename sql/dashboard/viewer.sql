-- Returns the agent that is signed in to the dashboard, and its organization. One row; no row if the agent is suspended,
-- deleted or unknown, if it lacks the scope, if its token is revoked or ended, or if one of its credentials was revoked after it
-- signed in.
-- Parameters: organization_id; agent_id; jti and issued_at (timestamptz): of the token; scope: the scope that the agent must
-- have; signed_in_at (timestamptz): the instant of the sign-in, or null for a token that was issued for the API.
--
-- example: scope=analytics:read
select organizations.name as organization_name, agents.name as agent_name, agents.scopes
from active_agents as agents
join organizations using (organization_id)
where
    agents.organization_id = %(organization_id)s
    and agents.agent_id = %(agent_id)s
    and %(scope)s = any (agents.scopes)
    and is_token_in_force(agents.tokens_not_before, %(issued_at)s::timestamptz)
    and not exists (
        select
        from revoked_tokens
        where revoked_tokens.organization_id = %(organization_id)s and revoked_tokens.jti = %(jti)s
    )
    -- Any revoked credential ends the session, because the session does not contain the credential that opened it.
    and not exists (
        select
        from credentials
        where
            credentials.organization_id = %(organization_id)s
            and credentials.agent_id = %(agent_id)s
            and credentials.revoked_at >= %(signed_in_at)s::timestamptz
    )
