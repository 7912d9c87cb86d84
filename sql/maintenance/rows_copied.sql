-- Returns the table that pg_dump is copying from this database, and the number of rows copied so far, one row per running
-- pg_dump whose tables this role may see.
select progress.relid::bigint as table_id, progress.tuples_processed
from pg_stat_progress_copy as progress
join pg_stat_activity as session on session.pid = progress.pid
where progress.datname = current_database() and progress.command = 'COPY TO' and session.application_name = 'pg_dump'
