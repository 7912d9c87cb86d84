-- Statements after which rows can be copied into all tables, in any order and by their owner: they drop the foreign keys, and
-- end row-level security. maintenance/statements_after_rows, which must be read before, has those that bring both back.
-- One row per statement. Parameters: none.
--
-- for: operator
select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
from pg_constraint
where contype = 'f' and connamespace = 'public'::regnamespace
union all
select format('alter table %s disable row level security', oid::regclass)
from pg_class
where relnamespace = 'public'::regnamespace and relrowsecurity
