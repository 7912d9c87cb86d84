-- Consumes an identifier that is accepted once, in the transaction's view of the organization. A second use is a unique
-- violation, which undoes all that the transaction does. Returns true.
--
-- One use in 16 deletes up to 64 identifiers that have expired, four for each use, so that most uses only insert.
--
-- Parameters: p_organization_id; p_digest: 32 bytes, of SHA-256; p_expires_at: from then on the identifier is refused
-- anyway; p_at.
create or replace function consume_identifier(
    p_organization_id text,
    p_digest bytea,
    p_expires_at timestamptz,
    p_at timestamptz
) returns boolean
language plpgsql as $$
declare
    v_expired bytea[] := '{}';
    v_digest bytea;
begin
    if get_byte(p_digest, 0) < 16 then
        -- A statement of its own: Citus locks rows for no sub-select.
        for v_digest in
            select digest
            from used_identifiers
            where
                organization_id = p_organization_id
                and expires_at < p_at
                -- Not the same identifier: its time refuses a second use.
                and digest <> p_digest
            -- By the index on the expiry, which finds at once that none has expired.
            order by expires_at
            limit 64
            for update skip locked
        loop
            v_expired := v_expired || v_digest;
        end loop;
        -- By primary key. A plan that was made on an empty table would read the whole table for a join or a ctid.
        delete from used_identifiers
        where organization_id = p_organization_id and digest = any (v_expired);
    end if;
    insert into used_identifiers (organization_id, digest, expires_at)
    values (p_organization_id, p_digest, p_expires_at);
    return true;
end $$;
