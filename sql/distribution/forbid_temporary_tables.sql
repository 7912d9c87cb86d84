-- Lets only the database's owner create temporary tables, on every node. The command agentidp db migrate does the same, but not
-- on workers that are added later. Returns one row per node.
select run_command_on_all_nodes(format('revoke temporary on database %I from public', current_database()))
