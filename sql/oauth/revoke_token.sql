-- Revokes a token, and deletes a few that have expired since. Returns no row; a second time does
-- nothing. Parameters: organization_id; jti; expires_at (timestamptz): from then on no server takes the token anyway;
-- at (timestamptz).
with expired as (
    delete from revoked_tokens
    -- By primary key. A plan that was made on an empty table would read the whole table for a join or a ctid.
    where organization_id = %(organization_id)s and jti = any (array(
        select jti
        from revoked_tokens
        where organization_id = %(organization_id)s and expires_at < %(at)s
        -- By the index on the expiry, which finds at once that none has expired.
        order by expires_at
        limit 10
        for update skip locked
    ))
)
insert into revoked_tokens (organization_id, jti, expires_at)
values (%(organization_id)s, %(jti)s, %(expires_at)s)
on conflict (organization_id, jti) do nothing
