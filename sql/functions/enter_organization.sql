-- Opens the transaction's view of one organization, and sets how it commits. Returns the two settings.
--
-- Parameters: p_organization_id; p_durable: false lets the commit be acknowledged before it is on disk.
create or replace function enter_organization(
    p_organization_id text,
    p_durable boolean
) returns text
language plpgsql as $$
begin
    return set_config('agentidp.organization_id', p_organization_id, true) || ' ' || set_config(
        'synchronous_commit',
        case
            when not p_durable then 'off'
            -- A worker of Citus has defaults of its own.
            when current_setting('synchronous_commit') = 'off' then 'on'
            else current_setting('synchronous_commit')
        end,
        true
    );
end $$;
