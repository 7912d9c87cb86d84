-- Returns the statement that lets only the owner of this database create temporary tables. By default every role may create them,
-- including agentidp_service, and they could fill the disk. Returns one row, or no row if the statement was run before.
--
-- for: operator
select format('revoke temporary on database %I from public', current_database()) as statement
where has_database_privilege('agentidp_service', current_database(), 'temporary')
