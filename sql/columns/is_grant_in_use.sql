-- Whether a grant is in use. A statement has {is_grant_in_use} in place of this condition.
expires_at > %(at)s and last_used_at is not null
-- A grant has ended if the agent's tokens were ended after it was created. All agents' instants are read once, as one object, because
-- a plan that was made on empty tables would read all agents for each grant.
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
