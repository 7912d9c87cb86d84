-- The provisioning rules of an organization. One row per rule, the oldest first: its columns, and agents: how many there are that
-- a rule of its name has created, deleted ones not counted. Parameters: organization_id.
--
-- pages: 300, the agents that rules have created, in an index
select
    {provisioning_rule},
    (
        select count(*)
        from agents
        where
            agents.organization_id = %(organization_id)s
            and agents.provisioned is not null
            and agents.provisioned ->> 'rule' = provisioning_rules.name
            and agents.deleted_at is null
    ) as agents
from provisioning_rules
where organization_id = %(organization_id)s
order by created_at, provisioning_rule_id
