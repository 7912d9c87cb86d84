-- Lets another session see the same rows as this transaction. Returns one row. Parameters: none.
select pg_export_snapshot() as snapshot
