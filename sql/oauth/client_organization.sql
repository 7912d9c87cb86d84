-- Returns the organization of a client, or no row for an unknown client. Parameters: client_id.
--
-- citus: no shard, because the client directory is read on the coordinator
select organization_id from clients where client_id = %(client_id)s
