-- Lets another session see the same rows as this transaction, which waits for it without a limit. Returns one row.
-- Parameters: none.
--
-- for: operator
select set_config('idle_in_transaction_session_timeout', '0', true), pg_export_snapshot() as snapshot
