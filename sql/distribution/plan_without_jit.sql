-- Turns JIT off on the workers, because the settings of the service's own sessions do not reach them. Returns no row.
alter role agentidp_service set jit to off
