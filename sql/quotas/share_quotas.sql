-- What the first statement of a token does: waits for a change of the organization's quotas, and lets none begin until the
-- transaction ends. For a transaction that locks a row before it issues a token, or several rows of quotas: a change locks rows
-- under its lock, so each would wait for the other. Returns one row, or none if there is no such organization. Parameters:
-- organization_id.
-- The row makes Citus take the lock on the organization's worker.
select pg_advisory_xact_lock_shared(hashtext(organization_id), 16) is not null as is_shared
from organizations
where organization_id = %(organization_id)s
