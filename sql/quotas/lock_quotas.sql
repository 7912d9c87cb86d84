-- Waits until no token of the organization is being issued, and lets none be issued until the transaction ends: its quotas
-- are about to change. To be run before the transaction locks a row. Returns one row. Parameters: organization_id; timeout: how
-- long it waits, with its unit.
-- On Citus, a function may lock the rows of this very value only, which must have the column's collation.
--
-- example: timeout=1s
select lock_quotas(%(organization_id)s::text collate "C", %(timeout)s::text) as is_locked
