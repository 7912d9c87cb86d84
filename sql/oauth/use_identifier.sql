-- Consumes an identifier that is accepted once, and deletes a few that have expired. Returns no row; a second use is a
-- unique violation, which undoes all that the transaction does.
-- Parameters: organization_id; digest (32 bytes); expires_at (timestamptz): from then on it is refused anyway;
-- at (timestamptz).
with expired as (
    delete from used_identifiers
    -- By the key, whatever the table held when the plan was made. By a join or by ctid it could be the whole table.
    where organization_id = %(organization_id)s and digest = any (array(
        select digest
        from used_identifiers
        where
            organization_id = %(organization_id)s
            and expires_at < %(at)s
            -- Not the very one: whoever sends it again is refused by its time.
            and digest <> %(digest)s::bytea
        -- By the index that finds none at once where none has expired, and not by one that looks through all.
        order by expires_at
        limit 10
        for update skip locked
    ))
)
insert into used_identifiers (organization_id, digest, expires_at)
values (%(organization_id)s, %(digest)s::bytea, %(expires_at)s)
