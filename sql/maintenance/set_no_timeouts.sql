-- Removes all time limits from this transaction's statements. Returns one row per time limit that this version of PostgreSQL
-- has.
select set_config(name, '0', true) as timeout
from pg_settings
where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
