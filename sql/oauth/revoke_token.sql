-- Revokes a token, and forgets a few that have expired since they were revoked. Returns no row; a second time does
-- nothing. Parameters: organization_id; jti; expires_at (timestamptz): from then on no server takes the token anyway;
-- at (timestamptz).
with expired as (
    delete from revoked_tokens
    -- By the key, whatever the table held when the plan was made. By a join or by ctid it could be the whole table.
    where organization_id = %(organization_id)s and jti = any (array(
        select jti
        from revoked_tokens
        where
            organization_id = %(organization_id)s
            and expires_at < %(at)s
        -- By the index that finds none at once where none has expired, and not by one that looks through all.
        order by expires_at
        limit 10
        for update skip locked
    ))
)
insert into revoked_tokens (organization_id, jti, expires_at)
values (%(organization_id)s, %(jti)s, %(expires_at)s)
on conflict (organization_id, jti) do nothing
