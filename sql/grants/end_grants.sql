-- Deletes all grants to an agent, all grants that people have made by a delegation rule, or all grants of the people of an issuer.
-- Returns one row per deleted grant: grant_id. The grants' access tokens must be ended by oauth/revoke_tokens.
-- Parameters: organization_id; agent_id, delegation_rule_id, issuer: exactly one of the three; the other two are null.
--
-- max-pages-read: 5000, for at most 100,000 grants of the organization
-- example: agent_id=null; issuer=null
delete from grants
where
    organization_id = %(organization_id)s
    and (
        agent_id = %(agent_id)s::uuid
        or delegation_rule_id = %(delegation_rule_id)s::uuid
        or issuer = %(issuer)s::text
    )
returning grant_id
