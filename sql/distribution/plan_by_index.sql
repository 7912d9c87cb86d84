-- Makes plans on the workers use indexes instead of sequential scans, so that a plan for an empty table also suits a full table.
-- The service's own sessions also turn sequential scans off, but Citus does not forward their setting. Returns no row.
alter role agentidp_service set enable_seqscan to off
