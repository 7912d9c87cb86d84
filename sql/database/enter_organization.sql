-- Restricts this transaction to the rows of one organization, and sets whether its commit waits for the disk. Returns one row.
-- Functions in PL/pgSQL call the function enter_organization instead, which on a Citus worker also turns synchronous_commit on.
-- Parameters: organization_id; durable: whether the commit waits. If it does not, a crash can lose the transaction.
--
-- citus: no shard, because it reads no table
select
    set_config('agentidp.organization_id', %(organization_id)s::text, true) as organization_id,
    set_config('synchronous_commit',
        case when %(durable)s::boolean then current_setting('synchronous_commit') else 'off' end, true) as synchronous_commit
