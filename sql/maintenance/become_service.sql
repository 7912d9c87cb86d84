-- Becomes the service's role until the connection ends. Returns one row. Parameters: none.
select set_config('role', 'agentidp_service', false)
