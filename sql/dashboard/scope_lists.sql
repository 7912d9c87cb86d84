-- How many agents of an organization have the same list of scopes, deleted agents left out. One row per list: scopes, agents.
-- Parameters: organization_id; at is not used.
--
-- pages: 1000, all agents
select agents.scopes, count(*) as agents
from agents
where agents.organization_id = %(organization_id)s and agents.deleted_at is null
group by agents.scopes
