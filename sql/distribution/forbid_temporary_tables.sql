-- Lets only the database's owner create temporary tables, on every node, because agentidp db migrate has not revoked this right
-- on workers that were added later. Returns one row per node.
select run_command_on_all_nodes(format('revoke temporary on database %I from public', current_database()))
