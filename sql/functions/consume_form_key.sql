-- Consumes the key of a form that creates something, as consume_identifier does. Returns null; or, if the key was consumed
-- before, the id of what was created then. It waits for a transaction that has consumed the key.
--
-- Parameters: p_organization_id; p_digest: 32 bytes, of SHA-256; p_expires_at: from then on the key is refused anyway; p_at.
create or replace function consume_form_key(
    p_organization_id text,
    p_digest bytea,
    p_expires_at timestamptz,
    p_at timestamptz
) returns uuid
language plpgsql as $$
declare
    v_is_consumed boolean;
    v_created_id uuid;
begin
    v_is_consumed := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    return null;
exception when unique_violation then
    -- Not in an expression: on Citus, only a statement of the function itself may read here.
    select created_id
    into v_created_id
    from used_identifiers
    where organization_id = p_organization_id and digest = p_digest;
    return v_created_id;
end $$;
