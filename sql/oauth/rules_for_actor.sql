-- The delegation rules by which an agent may act, for a client that is authentic: nobody else may cause what follows of a rule, such
-- as a request for keys. One row per rule, oldest first: delegation_rule_id, trust, and resources: for which it may.
-- Parameters: organization_id; agent_id; secret_hash, jwk and at: as in oauth/issue_access_token, whose conditions these are.
select
    delegation_rule_id,
    trust,
    array(select jsonb_array_elements(resources) ->> 'resource') as resources
from delegation_rules
where
    organization_id = %(organization_id)s and %(agent_id)s = any (agent_ids)
    and exists (
        select
        from client_credentials as client
        where
            client.organization_id = %(organization_id)s and client.agent_id = %(agent_id)s
            and (
                client.secret_hash = %(secret_hash)s::bytea
                or (
                    %(secret_hash)s::bytea is null
                    and (client.jwks @> %(jwk)s::jsonb or client.trust = %(jwk)s::jsonb)
                )
            )
            and (client.expires_at is null or client.expires_at > %(at)s)
    )
order by created_at, delegation_rule_id
