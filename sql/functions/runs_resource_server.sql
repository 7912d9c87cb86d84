-- Returns whether an agent runs the resource server whose tokens have the audience p_audience, so that the agent may exchange
-- such a token. The organization must own the resource server's identifier. A resource server for a cloud such as AWS does not
-- count, because all customers of the cloud use one audience. The transaction is already restricted to the organization's rows.
--
-- Parameters: p_organization_id; p_agent_id; p_audience: the aud of the token.
create or replace function runs_resource_server(
    p_organization_id text,
    p_agent_id uuid,
    p_audience text
) returns boolean
language plpgsql as $$
declare
    v_keys text[];
begin
    -- There are two statements instead of a join, because on Citus a statement in a function cannot read both the organization's
    -- rows and a table that is on every node.
    select array_agg(resource_key(coalesce(audience_claim, resource)))
    into v_keys
    from resource_servers
    where
        organization_id = p_organization_id and agent_id = p_agent_id
        -- The columns have the default collation. PostgreSQL would give the parameter the collation "C" of p_organization_id,
        -- because it gives all parameters of a function one collation.
        and coalesce(audience, resource) = p_audience collate "default"
        and (audience is null or audience_claim is not null);
    perform
    from resource_identifiers
    where organization_id = p_organization_id and resource = any (v_keys);
    return found;
end $$;
