-- The provisioning rules by which a token of an issuer may create an agent. One row per rule of an organization that is not
-- suspended, oldest first: the rule's columns; is_on: whether the organization's rules create agents; agent_id: of the agent that
-- was created for the subject, even if it is deleted, or null.
-- Parameters: organization_id; issuers (text[]): the possible issuers of the token; selectors (bytea[]): the selector of the
-- token's subject per issuer.
--
-- example: issuers={https://issuer.example}; selectors={\\x00}
select
    rules.provisioning_rule_id, rules.name, rules.trust, rules.agent_template, rules.max_agents,
    organizations.provisions_agents as is_on, known.agent_id
from provisioning_rules as rules
join organizations on organizations.organization_id = rules.organization_id
join unnest(%(issuers)s::text[], %(selectors)s::bytea[]) as wanted (issuer, selector)
    on wanted.issuer = rules.trust ->> 'issuer'
left join lateral (
    select agents.agent_id
    from agents
    where agents.organization_id = %(organization_id)s and agents.provisioned_selector = wanted.selector
    offset 0
) as known on true
where
    rules.organization_id = %(organization_id)s
    and organizations.organization_id = %(organization_id)s
    and is_active_organization(organizations.suspended_at)
order by rules.created_at, rules.provisioning_rule_id
