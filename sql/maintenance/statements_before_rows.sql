-- Returns the statements that drop the foreign keys and disable row-level security, so that the tables' owner can copy rows
-- into the tables in any order. Fetch the rows of maintenance/statements_after_rows before you run these statements, because a
-- dropped foreign key can no longer be read. Returns one row per statement.
select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement
from pg_constraint
where contype = 'f' and connamespace = 'public'::regnamespace
union all
select format('alter table %s disable row level security', oid::regclass)
from pg_class
where relnamespace = 'public'::regnamespace and relrowsecurity
