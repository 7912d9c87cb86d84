-- Consumes an identifier that is accepted once, and deletes a few that have expired. Returns no row; a second use is a
-- unique violation, which undoes all that the transaction does.
-- Parameters: organization_id; digest (32 bytes); expires_at (timestamptz): from then on it is refused anyway;
-- at (timestamptz).
with expired as (
    delete from used_identifiers
    -- By primary key. A plan that was made on an empty table would read the whole table for a join or a ctid.
    where organization_id = %(organization_id)s and digest = any (array(
        select digest
        from used_identifiers
        where
            organization_id = %(organization_id)s
            and expires_at < %(at)s
            -- Not the same identifier: its time refuses a second use.
            and digest <> %(digest)s::bytea
        -- By the index on the expiry, which finds at once that none has expired.
        order by expires_at
        limit 10
        for update skip locked
    ))
)
insert into used_identifiers (organization_id, digest, expires_at)
values (%(organization_id)s, %(digest)s::bytea, %(expires_at)s)
