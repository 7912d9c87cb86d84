-- Returns the rules of trust by which a token's subject possibly had access that an administrator has ended, one row per rule:
-- agent_id, trust. These are all rules of suspended agents, and the revoked rules for exactly this subject, except the revoked
-- rules of agents that a provisioning rule has created for the subject.
-- Parameters: organization_id; issuers (text[]): the possible issuers of the token; subject: the sub of the token.
--
-- max-pages-read: 1500, for the agents and credentials of the organization, which are read once per new subject
-- example: issuers={https://issuer.example}; subject=gone
select rules.agent_id, rules.trust
from (
    select agent_id
    from agents
    where organization_id = %(organization_id)s and status = 'suspended' and deleted_at is null
    offset 0
) as suspended
cross join lateral (
    select agent_id, trust
    from credentials
    where
        organization_id = %(organization_id)s
        and agent_id = suspended.agent_id
        and revoked_at is null
        and trust ->> 'issuer' = any (%(issuers)s::text[])
    offset 0
) as rules
union all
select revoked.agent_id, revoked.trust
from (
    select agent_id, trust
    from credentials
    where
        organization_id = %(organization_id)s
        and revoked_at is not null
        and trust ->> 'issuer' = any (%(issuers)s::text[])
        and trust ->> 'subject' = %(subject)s::text
    offset 0
) as revoked
cross join lateral (
    select provisioned
    from agents
    where organization_id = %(organization_id)s and agent_id = revoked.agent_id
    offset 0
) as agents
where agents.provisioned ->> 'subject' is distinct from %(subject)s::text
