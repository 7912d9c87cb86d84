-- Removes the time limits of this transaction's statements, whatever the role or the database sets. Returns one row per setting
-- that this server has.
select set_config(name, '0', true) as timeout
from pg_settings
where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
