-- Shares the organization's issuance lock, as issuing a token does: waits while another transaction changes the organization's
-- quotas, and blocks such changes until this transaction ends. A transaction that issues a token, or locks several rows of quotas,
-- must run this statement before it locks a row, because otherwise two transactions could wait for each other. Returns one row, or
-- no row if there is no such organization.
-- Reads the organization's row so that Citus takes the lock on the server that has the row.
-- Parameters: organization_id.
select pg_advisory_xact_lock_shared(hashtext(organization_id), 16) is not null as is_shared
from organizations
where organization_id = %(organization_id)s
