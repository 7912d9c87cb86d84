-- Creates the table of applied migrations if it does not exist. Returns no row.
--
-- for: operator
create table if not exists schema_migrations (
    name text primary key,
    applied_at timestamptz not null default now()
)
