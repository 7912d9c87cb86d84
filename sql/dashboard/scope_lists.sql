-- Returns the number of agents per list of scopes, without deleted agents. One row per list: scopes, agents.
-- Parameters: organization_id.
--
-- max-pages-read: 1000, all agents
select agents.scopes, count(*) as agents
from agents
where agents.organization_id = %(organization_id)s and agents.deleted_at is null
group by agents.scopes
