-- A resource server can say how long its tokens are valid, and what their aud and sub are, so that clouds take them.

alter table resource_servers
    -- The aud of its tokens. Null: its identifier.
    add column audience text,
    -- What the organization must hold in resource_identifiers to get tokens with that audience. Null: its identifier.
    add column audience_claim text,
    -- Seconds that its tokens are valid. Null: as many as AGENTIDP_TOKEN_TTL says.
    add column token_ttl integer,
    -- When token_ttl changed: tokens that were issued before are valid for another time.
    add column token_ttl_changed_at timestamptz,
    -- A template of the sub of its tokens. Null: the id of the agent.
    add column subject text;
grant update (audience, audience_claim, token_ttl, token_ttl_changed_at, subject) on resource_servers to agentidp_service;

-- It will return more columns. Release 0.2.0 does not have it.
drop function if exists issue_token(
    text, uuid, timestamptz, date, integer, bytea, jsonb, bytea, timestamptz, text[], text[], text, boolean, boolean
);
