-- Lets the operator, who owns the tables, see the agents of all organizations. When Citus moves a shard, it adds the foreign key
-- from resource_servers to agents again as the owner. The move fails if the owner sees a resource server but not its agent.

create policy operator on agents for select to current_user using (true);
