-- Returns the number of rows in all tables of this database, estimated from its statistics, one row: rows.
select coalesce(sum(reltuples) filter (where reltuples > 0), 0)::bigint as rows
from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r'
