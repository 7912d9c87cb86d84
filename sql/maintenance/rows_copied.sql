-- The table that pg_dump copies from this database now, and how many of its rows it has copied. One row for each pg_dump that
-- runs, if its tables are visible to this role. Parameters: none.
--
-- for: operator
select progress.relid::bigint as table_id, progress.tuples_processed
from pg_stat_progress_copy as progress
join pg_stat_activity as session on session.pid = progress.pid
where
    progress.datname = current_database()
    and progress.command = 'COPY TO'
    and session.application_name = 'pg_dump'
