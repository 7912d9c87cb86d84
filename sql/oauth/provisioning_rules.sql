-- Returns the provisioning rules by which a token of an issuer may create an agent. One row per rule of an organization that is
-- not suspended, oldest first, until the rules together have max_characters: its columns, where trust is text, or null for a rule
-- that exceeds max_characters; is_on: whether the organization's rules create agents; and agent_id: the agent that the subject has, or
-- had before the agent was deleted, or null.
-- Parameters: organization_id; issuers (text[]): the possible issuers of the token; selectors (bytea[]): of the token's subject
-- at each of these issuers; max_characters.
--
-- example: issuers={https://issuer.example}; selectors={\\x00}; max_characters=16000
select
    rules.provisioning_rule_id,
    rules.name,
    case when rules.characters <= %(max_characters)s then rules.trust::text end as trust,
    rules.agent_template,
    rules.max_agents,
    organizations.provisions_agents as is_on,
    known.agent_id
from (
    select
        *,
        trust ->> 'issuer' as issuer,
        coalesce(trust_length, pg_column_size(trust)) as length,
        sum(coalesce(trust_length, pg_column_size(trust))) over (order by created_at, provisioning_rule_id) as characters
    from provisioning_rules
    where organization_id = %(organization_id)s and trust ->> 'issuer' = any (%(issuers)s::text[])
    offset 0
) as rules
join organizations on organizations.organization_id = rules.organization_id
join unnest(%(issuers)s::text[], %(selectors)s::bytea[]) as wanted (issuer, selector)
    on wanted.issuer = rules.issuer
left join lateral (
    select agents.agent_id
    from agents
    where agents.organization_id = %(organization_id)s and agents.provisioned_selector = wanted.selector
    offset 0
) as known on true
where
    organizations.organization_id = %(organization_id)s
    and is_active_organization(organizations.suspended_at)
    and rules.characters - rules.length <= %(max_characters)s
order by rules.created_at, rules.provisioning_rule_id
