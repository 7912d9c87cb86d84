-- Returns the delegation rules by which a client's agent may act for the subjects of other issuers' tokens. Returns no row if the
-- client's credential is wrong, because rules cause work such as requests for an issuer's keys. Returns one row per rule, oldest
-- first: delegation_rule_id; issuer; trust, as text, with the audience that the token must have; resources: the resources for which
-- the agent may act. Ignores client_hosts, because apps act only by grants of people (redeem_grant), and not by tokens of other
-- issuers.
-- Parameters: organization_id; agent_id; audience: the aud that the token must have, or null for the audience of the rule or, if
-- the rule has none, the agent's id; secret_hash, key_or_rule and at: as in oauth/issue_access_token.
select
    delegation_rule_id,
    trust ->> 'issuer' as issuer,
    (
        trust || jsonb_build_object('audience', coalesce(%(audience)s::text, trust ->> 'audience', %(agent_id)s::uuid::text))
    )::text as trust,
    array(select jsonb_array_elements(resources) ->> 'resource') as resources
from delegation_rules
where
    organization_id = %(organization_id)s and %(agent_id)s::uuid = any (agent_ids)
    and exists (
        select
        from active_agents
        join credentials as client using (organization_id, agent_id)
        where
            organization_id = %(organization_id)s and agent_id = %(agent_id)s::uuid
            and is_credential_presented(
                client.secret_hash, client.jwks, client.trust, %(secret_hash)s::bytea, %(key_or_rule)s::jsonb
            )
            and is_credential_in_force(client.expires_at, client.revoked_at, %(at)s)
    )
order by created_at, delegation_rule_id
