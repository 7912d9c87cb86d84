-- Tests whether each server with shards reuses the plans that it has stored for the statements of a function. Citus 14.0.0 and
-- 14.0.1 plan each statement again for each call and store that plan too, which takes 300 kB per token (corrected by Citus's
-- change 8824). The test runs a statement 60 times and compares the memory of the session's plans. Returns one row per server:
-- node: its address; success: whether it reuses plans; result: if success is false, the error, which ends in "plans are not kept"
-- if the server does not reuse plans.
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
        -- By the tenth call, PostgreSQL has stored the plan that the later calls should reuse.
        if number = 10 then
            v_bytes := (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan');
        end if;
    end loop;
    -- If each of the last 50 calls stored a plan, these plans would take about 2 MB.
    if (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan') > v_bytes + 200000 then
        raise exception 'plans are not kept';
    end if;
end $block$
$command$)
join pg_dist_node using (nodeid)
order by node
