-- Lets a rule of trust be found by tokens that come without client_id. Returns no row.
-- Parameters: organization_id; agent_id; credential_id: of the rule; selectors (bytea[]): 32 bytes each.
--
-- citus: no shard, because it writes a reference table
-- example: selectors={}
insert into trusted_subjects (selector, organization_id, agent_id, credential_id)
select selector, %(organization_id)s, %(agent_id)s::uuid, %(credential_id)s::uuid
from unnest(%(selectors)s::bytea[]) as selector
