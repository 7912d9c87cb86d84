-- Lets the workers plan as the service's own sessions do, whose settings do not reach them: a plan that is made once,
-- perhaps on an empty table, must be the one for a full table. Returns no row. Parameters: none.
--
-- for: operator
alter role agentidp_service set enable_seqscan to off
