-- Restricts the transaction to the rows of one organization, and sets whether its commit waits for the disk. Returns the new
-- settings. The function is in SQL so that PostgreSQL can inline it.
--
-- Parameters: p_organization_id; p_durable: false lets the commit be acknowledged before it is on disk.
create or replace function enter_organization(
    p_organization_id text,
    p_durable boolean
) returns text
language sql
return set_config('agentidp.organization_id', p_organization_id, true) || ' ' || case
    when not p_durable then set_config('synchronous_commit', 'off', true)
    -- The service turns synchronous_commit on in its own sessions. But on Citus, this function runs on a worker, whose default
    -- may be "off".
    when current_setting('synchronous_commit') = 'off' then set_config('synchronous_commit', 'on', true)
    else ''
end;
