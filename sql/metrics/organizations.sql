-- The organizations that have agents, for the operator's metrics. One row per organization. Reads the client directory,
-- because the service's role sees the table of organizations one organization at a time. Parameters: none.
select distinct organization_id from clients
