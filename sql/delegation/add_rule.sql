-- Creates a delegation rule. Returns the rule's columns, or no row if the organization has the maximum number of rules.
-- Parameters: organization_id; delegation_rule_id; name; trust and resources (JSON text); agent_ids (uuid[]); client_hosts
-- (text[]); grant_days; at (timestamptz); max_rules.
--
-- example: delegation_rule_id=0a1b2c3d-0000-4000-8000-000000000001; name=new; trust={}; resources=[]
insert into delegation_rules (
    organization_id, delegation_rule_id, name, trust, agent_ids, client_hosts, resources, grant_days, created_at
)
select
    %(organization_id)s, %(delegation_rule_id)s::uuid, %(name)s::text, %(trust)s::jsonb, %(agent_ids)s::uuid[], %(client_hosts)s::text[],
    %(resources)s::jsonb, %(grant_days)s::integer, %(at)s::timestamptz
where (select count(*) from delegation_rules where organization_id = %(organization_id)s) < %(max_rules)s
returning {delegation_rule}
