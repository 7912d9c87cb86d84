-- Revokes a token, and deletes a few revoked tokens that have expired. Revoking a token twice has no effect. Returns no row.
-- Parameters: organization_id; jti; expires_at (timestamptz): the instant from which every server refuses the token as expired;
-- at (timestamptz).
with expired as (
    delete from revoked_tokens
    -- The rows are deleted by primary key, because a join that was planned on an empty table would read the entire table.
    where organization_id = %(organization_id)s and jti = any (array(
        select jti
        from revoked_tokens
        where organization_id = %(organization_id)s and expires_at < %(at)s
        -- The order makes PostgreSQL use the index on expires_at, which ends the search at once if no token has expired.
        order by expires_at
        limit 10
        for update skip locked
    ))
)
insert into revoked_tokens (organization_id, jti, expires_at)
values (%(organization_id)s, %(jti)s, %(expires_at)s)
on conflict (organization_id, jti) do nothing
