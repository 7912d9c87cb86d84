-- Returns one row: seconds: the database's time in seconds since 1970. The time is a number, because the text of a timestamp
-- depends on PostgreSQL's settings.
--
-- citus: no shard, because it reads no table
select extract(epoch from clock_timestamp())::float8 as seconds
