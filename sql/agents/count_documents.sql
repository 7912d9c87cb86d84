-- Returns the number of agents that have a client ID metadata document, including deleted agents. One row: count.
-- Parameters: organization_id.
--
-- max-pages-read: 800, for the agents of the organization
select count(*) as count
from agents
where organization_id = %(organization_id)s and client_uri is not null
