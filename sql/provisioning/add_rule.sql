-- Creates a provisioning rule. Returns the rule's columns, or no row if the organization has the maximum number of rules.
-- Parameters: organization_id; provisioning_rule_id; name; trust and agent_template (JSON text); max_agents; at (timestamptz);
-- max_rules.
--
-- example: provisioning_rule_id=0a1b2c3d-0000-4000-8000-000000000001; name=new; trust={}; agent_template={}; max_agents=5
insert into provisioning_rules (
    organization_id, provisioning_rule_id, name, trust, trust_length, agent_template, max_agents, created_at
)
select
    %(organization_id)s, %(provisioning_rule_id)s::uuid, %(name)s::text, %(trust)s::jsonb,
    length((%(trust)s::jsonb)::text), %(agent_template)s::jsonb, %(max_agents)s::integer, %(at)s::timestamptz
where (select count(*) from provisioning_rules where organization_id = %(organization_id)s) < %(max_rules)s
returning {provisioning_rule}
