-- Returns the number of agents, without deleted agents, that provisioning rules with this name have created. One row: count.
-- Parameters: organization_id; name.
--
-- max-pages-read: 300, for the index entries of the rule's agents
select count(*) as count
from agents
where
    organization_id = %(organization_id)s
    and provisioned is not null
    and provisioned ->> 'rule' = %(name)s::text
    and deleted_at is null
