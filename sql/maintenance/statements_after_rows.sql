-- Returns the statements that restore the foreign keys and the row-level security, which maintenance/statements_before_rows
-- removes. One row per statement, in the order in which they must be run. Foreign keys come first, because PostgreSQL can check
-- them only while row-level security hides no rows.
select statement
from (
    select
        1 as place,
        format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as statement
    from pg_constraint
    where contype = 'f' and connamespace = 'public'::regnamespace
    union all
    select 2, format('alter table %s enable row level security', oid::regclass)
    from pg_class
    where relnamespace = 'public'::regnamespace and relrowsecurity
) as statements
order by place, statement
