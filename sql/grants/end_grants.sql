-- Ends the grants to an agent, by a delegation rule, or of the people of an issuer. One row per grant: grant_id. oauth/revoke_tokens
-- ends their access tokens.
-- Parameters: organization_id; agent_id, delegation_rule_id, issuer: one of the three, the others are null.
--
-- pages: 5000, of the at most 100,000 grants of an organization it reads each
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
