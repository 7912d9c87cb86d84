-- Tests whether each server with shards reuses the plans that it has stored for the statements of a function. Citus 14.0.0 and
-- 14.0.1 do not: at each call, they plan each statement again and also store the new plan, which takes 300 kB per token
-- (corrected by Citus's change 8824). The test runs a statement 60 times and measures the memory of the stored plans. Returns
-- one row per server: node: the server's address; success: whether the server reuses plans; result: the error if success is
-- false. The error ends in "plans are not kept", unless the test itself failed.
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
        -- PostgreSQL has stored a plan after the tenth call at the latest. All later calls should reuse this plan.
        if number = 10 then
            v_bytes := (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan');
        end if;
    end loop;
    -- Fifty stored plans would take about 2 MB, so a growth of at most 200 kB shows that the calls reused the first plan.
    if (select sum(total_bytes) from pg_backend_memory_contexts where name = 'CachedPlan') > v_bytes + 200000 then
        raise exception 'plans are not kept';
    end if;
end $block$
$command$)
join pg_dist_node using (nodeid)
order by node
