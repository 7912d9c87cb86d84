-- The database's clock, in seconds since 1970: a number reads the same under every setting. Returns one row. Parameters:
-- none.
select extract(epoch from clock_timestamp())::float8 as seconds
