-- Consumes the key of a form that creates something (consume_identifier). Returns null or, if the key was consumed before, the id
-- of the object that the form created then. Waits for a transaction that has consumed the key and is not finished.
--
-- Parameters: p_organization_id; p_digest: the SHA-256 of the key; p_expires_at: the instant from which the key is refused
-- anyway; p_at: now.
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
    -- Reads the table by a statement, because on Citus an expression in this function must not read a table.
    select created_id
    into v_created_id
    from used_identifiers
    where organization_id = p_organization_id and digest = p_digest;
    return v_created_id;
end $$;
