-- Turns sequential scans off on the workers, because the settings of the service's own sessions do not reach them. A plan that
-- was made on an empty table then also suits a full table. Returns no row.
alter role agentidp_service set enable_seqscan to off
