-- Whether each server that has shards finds the plans of a function's statements that it has kept. Citus 14.0.0 and 14.0.1
-- plan each statement again for each call and keep that plan too, 300 kB a token (corrected by Citus's change 8824). So a
-- statement is run 60 times, and the memory of the session's plans compared. Returns one row per server: node, its address;
-- success, whether it finds them; result, which ends in "plans are not kept" if it does not find them, and otherwise says
-- why it is unknown. Parameters: none.
--
-- for: operator
select nodename || ':' || nodeport as node, success, result
from run_command_on_all_nodes($command$
do $block$
declare
    v_organization_id text := (
        select 'probe-' || number
        from generate_series(1, 10000) as number
        where
            get_shard_id_for_distribution_column('organizations', 'probe-' || number) in (
                select shardid from pg_dist_placement join pg_dist_local_group using (groupid)
            )
        limit 1
    );
    v_mode text := set_config('plan_cache_mode', 'auto', true);
    v_bytes bigint;
begin
    for number in 1 .. 60 loop
        perform from organizations where organization_id = v_organization_id;
        -- The plan to keep is made by now.
        if number = 10 then
            v_bytes := (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan');
        end if;
    end loop;
    -- Of 50 plans, which have 2 MB.
    if (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan') > v_bytes + 200000 then
        raise exception 'plans are not kept';
    end if;
end $block$
$command$)
join pg_dist_node using (nodeid)
order by node
