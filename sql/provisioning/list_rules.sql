-- Returns the provisioning rules of an organization, one row per rule, oldest first: the rule's columns, and agents: the number
-- of agents that rules of this name have created, without deleted agents. Parameters: organization_id.
--
-- max-pages-read: 300, for the index entries of the agents that rules have created
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
