-- Lets the operator, who owns the tables, see the agents of all organizations, as it sees their resource servers. Citus adds
-- foreign keys again to the shards that it moves. As the owner, it compares all rows of resource_servers with the rows of
-- agents that the owner sees.

create policy operator on agents for select to current_user using (true);
