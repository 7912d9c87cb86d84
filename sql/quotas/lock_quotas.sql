-- Takes the organization's issuance lock: waits until no token of the organization is being issued, and blocks new tokens until the
-- transaction ends, because quotas are about to change, or an agent or its tokens are about to end. Run it before the transaction
-- locks a row. Returns one row.
-- Parameters: organization_id: needs the collation "C" of its column, so that Citus runs the function where the rows are; timeout:
-- the maximum wait, including its unit.
--
-- example: timeout=1s
select lock_quotas(%(organization_id)s::text collate "C", %(timeout)s::text) as is_locked
