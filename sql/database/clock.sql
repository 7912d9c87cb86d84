-- Returns the database's clock in seconds since 1970, a number because its format does not depend on settings. Returns one row.
--
-- citus: no shard, because it reads no table
select extract(epoch from clock_timestamp())::float8 as seconds
