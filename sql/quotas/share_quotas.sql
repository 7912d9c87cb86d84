-- Waits for a change of the organization's quotas, and blocks further changes until the transaction ends, as a token does first.
-- For a transaction that locks a row before it issues a token, or that locks several rows of quotas: a change locks rows while it
-- holds its lock, so otherwise the two transactions would wait for each other. Returns one row, or no row if there is no such
-- organization.
-- Parameters: organization_id.
-- The statement reads a row so that Citus takes the lock on the organization's worker.
select pg_advisory_xact_lock_shared(hashtext(organization_id), 16) is not null as is_shared
from organizations
where organization_id = %(organization_id)s
