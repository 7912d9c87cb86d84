-- Lets only the database's owner create temporary tables, on every node: a new worker does not have what agentidp db migrate
-- has revoked on the others. Returns one row per node.
select run_command_on_all_nodes(format('revoke temporary on database %I from public', current_database()))
