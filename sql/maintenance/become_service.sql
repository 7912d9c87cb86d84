-- Switches from the role that has logged in to the service's role, until the connection ends. Returns one row.
select set_config('role', 'agentidp_service', false)
