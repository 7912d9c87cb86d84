-- Returns the organizations that have agents, for the operator's metrics. One row per organization. Reads the client directory,
-- because the service's role can read the table of organizations for only one organization at a time.
--
-- max-pages-read: 500, for the whole client directory
-- citus: no shard, because the client directory is read on the coordinator
select distinct organization_id from clients
