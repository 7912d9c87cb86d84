-- Lets the operator, who owns the tables, see the agents of all organizations, like all resource servers. When Citus moves a
-- shard, it adds the foreign keys again and compares, as the owner, all rows of resource_servers with the rows of agents that the
-- owner sees.

create policy operator on agents for select to current_user using (true);
