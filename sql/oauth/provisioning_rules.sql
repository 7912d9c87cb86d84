-- Returns the provisioning rules by which a token of another issuer may create an agent, one row per rule, oldest first; no row if
-- the organization is suspended. Returns the first rules that together have at most max_characters, and the next rule, if any,
-- with null as trust. Columns: the rule's columns, with trust as text; is_on: whether the organization's rules create agents;
-- agent_id: the subject's agent, even if it was deleted, or null.
-- Parameters: organization_id; issuers (text[]): the possible issuers of the token; selectors (bytea[]): for each of these issuers,
-- the digest of the issuer and the token's subject; max_characters.
--
-- example: issuers={https://issuer.example}; selectors={\\x00}; max_characters=16000
select
    rules.provisioning_rule_id,
    rules.name,
    case when rules.characters <= %(max_characters)s then rules.trust::text end as trust,
    rules.agent_template,
    rules.max_agents,
    organizations.provisions_agents as is_on,
    subject_agents.agent_id
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
join unnest(%(issuers)s::text[], %(selectors)s::bytea[]) as subjects (issuer, selector)
    on subjects.issuer = rules.issuer
left join lateral (
    select agents.agent_id
    from agents
    where agents.organization_id = %(organization_id)s and agents.provisioned_selector = subjects.selector
    offset 0
) as subject_agents on true
where
    organizations.organization_id = %(organization_id)s
    and is_active_organization(organizations.suspended_at)
    and rules.characters - rules.length <= %(max_characters)s
order by rules.created_at, rules.provisioning_rule_id
