-- Waits until no token of the organization is being issued, and blocks new tokens until the transaction ends, because the
-- organization's quotas are about to change. Run it before the transaction locks a row. Returns one row.
-- Parameters: organization_id; timeout: the maximum wait, with its unit. On Citus, the function may lock only rows with this
-- organization_id. The argument needs the collation "C" of that column.
--
-- example: timeout=1s
select lock_quotas(%(organization_id)s::text collate "C", %(timeout)s::text) as is_locked
