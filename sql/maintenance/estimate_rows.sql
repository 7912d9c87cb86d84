-- How many rows the tables of this database have, as its statistics say. One row. Parameters: none.
--
-- for: operator
select coalesce(sum(reltuples) filter (where reltuples > 0), 0)::bigint as rows
from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r'
