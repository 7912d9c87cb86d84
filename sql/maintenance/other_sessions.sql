-- Returns the number of other sessions in this database, one row per role: role_name, sessions.
select usename::text as role_name, count(*) as sessions
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and usename is not null
group by usename
order by usename
