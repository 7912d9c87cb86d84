-- Whether a grant is in use: it has not expired, a client has redeemed its code, and its agent's tokens have not been ended since
-- the grant was created. A statement includes this condition as {is_grant_in_use}.
expires_at > %(at)s and last_used_at is not null
-- When an administrator ends an agent's tokens, all existing grants to this agent end too. The sub-select reads
-- tokens_not_before of all agents once, because a join that was planned on empty tables would read all agents for each grant.
and is_token_in_force(
    (
        (
            select jsonb_object_agg(agents.agent_id, agents.tokens_not_before)
            from agents
            where agents.organization_id = %(organization_id)s and agents.tokens_not_before is not null
        ) ->> grants.agent_id::text
    )::timestamptz,
    grants.created_at
)
