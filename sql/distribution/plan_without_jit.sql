-- Turns JIT off on the workers. The service's own sessions also turn it off, but Citus does not forward their setting. Returns
-- no row.
alter role agentidp_service set jit to off
