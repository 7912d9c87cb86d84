-- Exports this transaction's snapshot, so that another session sees the same rows, and lets the transaction stay idle without a
-- limit meanwhile. Returns one row.
select set_config('idle_in_transaction_session_timeout', '0', true), pg_export_snapshot() as snapshot
