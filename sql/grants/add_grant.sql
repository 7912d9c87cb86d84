-- Adds a grant with an authorization code. Returns the grant's columns, or no row if the organization has the maximum number of
-- grants.
-- Parameters: organization_id; grant_id; agent_id; delegation_rule_id; issuer; subject; subject_encrypted; resource; scopes
-- (text[]); token_digest (32 bytes): the digest of the code; challenge; redirect_uri; jkt (or null); days; at (timestamptz);
-- expires_at (timestamptz): the expiry of the code; max_grants.
--
-- max-pages-read: 10000, because the statement counts all grants of the organization, at most 100,000
-- example: resource=https://api.example; scopes={a}; grant_id=0a1b2c3d-0000-4000-8000-000000000001; token_digest=\x00000000000000000000000000000000000000000000000000000000000000ff; max_grants=100000
insert into grants (
    organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, resource, scopes, token_digest,
    challenge, redirect_uri, jkt, days, created_at, expires_at
)
select
    %(organization_id)s, %(grant_id)s::uuid, %(agent_id)s::uuid, %(delegation_rule_id)s::uuid, %(issuer)s, %(subject)s,
    %(subject_encrypted)s::bytea, %(resource)s, %(scopes)s::text[], %(token_digest)s::bytea, %(challenge)s, %(redirect_uri)s,
    %(jkt)s::text, %(days)s::integer, %(at)s, %(expires_at)s::timestamptz
where (
    select count(*)
    from (
        select
        from grants
        where organization_id = %(organization_id)s and expires_at >= %(at)s
        limit %(max_grants)s::integer
    ) as counted
) < %(max_grants)s::integer
returning {grant}
