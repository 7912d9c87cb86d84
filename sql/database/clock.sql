-- Returns the database's time in seconds since 1970. The format of a number does not depend on settings. Returns one row.
--
-- citus: no shard, because it reads no table
select extract(epoch from clock_timestamp())::float8 as seconds
