-- Returns the number of agents of an organization, without deleted agents, one row: count. Parameters: organization_id.
--
-- max-pages-read: 800, for the index entries of the organization's agents
select count(*) as count
from agents
where organization_id = %(organization_id)s and deleted_at is null
