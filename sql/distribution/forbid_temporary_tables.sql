-- Lets only the database's owner create temporary tables, on every node. The command agentidp db migrate does this too, but only
-- on the workers that exist when it runs. Returns one row per node.
select run_command_on_all_nodes(format('revoke temporary on database %I from public', current_database()))
