-- Lets a rule of trust be found no more by tokens without client_id. Returns no row.
-- Parameters: organization_id; agent_id; credential_id: of the rule, or null for all rules of the agent.
--
-- citus: no shard, because it writes a reference table
-- example: credential_id=null
delete from trusted_subjects
where
    organization_id = %(organization_id)s
    and agent_id = %(agent_id)s
    and (%(credential_id)s::uuid is null or credential_id = %(credential_id)s::uuid)
