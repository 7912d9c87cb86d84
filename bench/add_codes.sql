-- Adds authorization codes of an agent, and the delegation rule that allows them.
-- Parameters: agent_id; target (the resource server of the codes); challenge (of PKCE, the same for all codes); grant_ids, encrypted,
-- digests (arrays with one entry per code: the id, the encrypted subject and the digest).
with rule as (
    insert into delegation_rules
        (organization_id, delegation_rule_id, name, trust, agent_ids, resources, created_at)
    select
        organization_id, gen_random_uuid(), 'people', '{"issuer": "https://issuer.example"}', array[%(agent_id)s::uuid],
        jsonb_build_array(jsonb_build_object('resource', %(target)s::text, 'scopes', array['analytics:read'])), now()
    from clients
    where client_id = %(agent_id)s
    returning organization_id, delegation_rule_id
)
insert into grants
    (
        organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, resource, scopes,
        token_digest, challenge, redirect_uri, days, created_at, expires_at
    )
select
    organization_id, grant_id, %(agent_id)s, delegation_rule_id, 'https://issuer.example', 'person', encrypted, %(target)s,
    array['analytics:read'], digest, %(challenge)s, 'http://127.0.0.1/', 30, now(), now() + interval '1 hour'
from rule
cross join unnest(%(grant_ids)s::uuid[], %(encrypted)s::bytea[], %(digests)s::bytea[]) as code (grant_id, encrypted, digest)
returning grant_id
