-- Returns the progress of pg_dump in this database, one row per running pg_dump that the current role may see: table_id: the
-- table that is copied now; tuples_processed: the number of its rows that are copied already.
select progress.relid::bigint as table_id, progress.tuples_processed
from pg_stat_progress_copy as progress
join pg_stat_activity as session on session.pid = progress.pid
where progress.datname = current_database() and progress.command = 'COPY TO' and session.application_name = 'pg_dump'
