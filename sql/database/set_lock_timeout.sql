-- Bounds the wait for each lock in this transaction. One row, with the time.
-- Parameter: timeout: with a unit, for example 2s.
select set_config('lock_timeout', %(timeout)s, true)
