-- Records that a form was sent, so that the form creates only one object if it is sent twice. Returns null for the first use of the
-- form's key. For a second use, waits until the first transaction has ended, and returns the id of the created object.
--
-- Parameters: p_organization_id; p_digest: the SHA-256 of the key; p_expires_at: the instant from which the key is refused as too
-- old; p_at: now.
create or replace function consume_form_key(
    p_organization_id text,
    p_digest bytea,
    p_expires_at timestamptz,
    p_at timestamptz
) returns uuid
language plpgsql as $$
declare
    v_ignored_boolean boolean;
    v_created_id uuid;
begin
    v_ignored_boolean := consume_identifier(p_organization_id, p_digest, p_expires_at, p_at);
    return null;
exception when unique_violation then
    -- A separate statement reads the table, because on Citus an expression in a function must not read a table.
    select created_id
    into v_created_id
    from used_identifiers
    where organization_id = p_organization_id and digest = p_digest;
    return v_created_id;
end $$;
