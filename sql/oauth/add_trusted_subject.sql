-- Lets a rule of trust be found by tokens that come without client_id. Returns no row. One row, because Citus would copy the rows
-- of a select, which PostgreSQL refuses under row-level security.
-- Parameters: organization_id; agent_id; credential_id: of the rule; selector (bytea): 32 bytes.
--
-- citus: no shard, because it writes a reference table
-- example: selector=\x0000000000000000000000000000000000000000000000000000000000000000
insert into trusted_subjects (selector, organization_id, agent_id, credential_id)
values (%(selector)s, %(organization_id)s, %(agent_id)s::uuid, %(credential_id)s::uuid)
