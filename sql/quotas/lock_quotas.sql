-- Takes the organization's issuance lock: waits until no token of the organization is being issued, and blocks new tokens until the
-- transaction ends. Run this statement before the transaction locks a row. Returns one row.
-- Parameters: organization_id: has the collation "C", like the column organization_id, because only then Citus runs the function
-- on the worker with the organization's rows; timeout: the maximum wait, including its unit.
--
-- example: timeout=1s
select lock_quotas(%(organization_id)s::text collate "C", %(timeout)s::text) as is_locked
