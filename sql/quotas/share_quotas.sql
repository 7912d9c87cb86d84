-- Waits while another transaction changes the organization's quotas, and blocks such changes until this transaction ends. Each
-- issuance of a token takes the same lock. A transaction that issues a token, or locks several rows of quotas, must run this
-- before it locks another row, because otherwise two transactions could wait for each other. Returns one row, or no row if there
-- is no such organization. The statement reads a row so that Citus takes the lock on the organization's worker.
-- Parameters: organization_id.
select pg_advisory_xact_lock_shared(hashtext(organization_id), 16) is not null as is_shared
from organizations
where organization_id = %(organization_id)s
