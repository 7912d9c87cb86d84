-- Records the use of an identifier that is accepted only once. A second use is a unique violation, which rolls back the
-- transaction. The transaction is already restricted to the organization's rows. Returns true.
--
-- One use in 16 also deletes up to 64 expired identifiers. The other uses only insert a row.
--
-- Parameters: p_organization_id; p_digest: the SHA-256 of the identifier; p_expires_at: the instant from which the identifier is
-- refused as expired; p_at: now.
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
        -- A separate statement locks the rows, because Citus does not lock rows in a sub-select.
        for v_digest in
            select digest
            from used_identifiers
            where
                organization_id = p_organization_id
                and expires_at < p_at
                -- The row of this identifier is kept, even if it has expired, so that a second use is a unique violation.
                and digest <> p_digest
            -- The order makes PostgreSQL use the index on expires_at, which ends the search at once if no identifier has expired.
            order by expires_at
            limit 64
            for update skip locked
        loop
            v_expired := v_expired || v_digest;
        end loop;
        -- The rows are deleted by primary key, because a join that was planned on an empty table would read the entire table.
        delete from used_identifiers
        where organization_id = p_organization_id and digest = any (v_expired);
    end if;
    insert into used_identifiers (organization_id, digest, expires_at)
    values (p_organization_id, p_digest, p_expires_at);
    return true;
end $$;
