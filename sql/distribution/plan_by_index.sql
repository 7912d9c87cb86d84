-- Sets for the workers the planner setting that the service's own sessions have and that does not reach the workers: a plan is
-- made once, perhaps on an empty table, and must suit a full table. Returns no row.
alter role agentidp_service set enable_seqscan to off
