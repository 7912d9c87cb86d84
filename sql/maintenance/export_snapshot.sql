-- Exports this transaction's snapshot, so that another session can see the rows that this transaction sees. Lets this transaction
-- stay idle without a time limit, because the snapshot ends with the transaction. Returns one row.
select set_config('idle_in_transaction_session_timeout', '0', true), pg_export_snapshot() as snapshot
