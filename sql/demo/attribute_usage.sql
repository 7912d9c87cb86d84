-- Attributes the imported tokens of each agent to a resource and to the agent's oldest credential that was not revoked before the
-- day. Returns no row.
-- Parameters: organization_id; agent_ids (uuid[]); resources (text[]): one resource per agent, which is empty for our own API.
insert into credential_usage_daily (
    organization_id, day, agent_id, credential_id, resource, slot, tokens, tokens_by_hour
)
select
    usage.organization_id,
    usage.day,
    usage.agent_id,
    (
        select credentials.credential_id
        from credentials
        where
            credentials.organization_id = %(organization_id)s
            and credentials.agent_id = usage.agent_id
            and (credentials.revoked_at is null or (credentials.revoked_at at time zone 'utc')::date >= usage.day)
        order by credentials.created_at
        limit 1
    ),
    agents.resource,
    usage.slot,
    usage.tokens,
    usage.tokens_by_hour
from agent_usage_daily as usage
join unnest(%(agent_ids)s::uuid[], %(resources)s::text[]) as agents (agent_id, resource) on agents.agent_id = usage.agent_id
where usage.organization_id = %(organization_id)s and usage.tokens > 0
