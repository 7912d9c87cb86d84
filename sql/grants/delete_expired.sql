-- Deletes at most 10,000 expired grants of an organization, so that the statement ends before the time limit. Returns no row.
-- Parameters: organization_id; at (timestamptz).
--
-- example: at=3000-01-01T00:00:00+00:00
-- max-pages-read: 16000, for 10,000 grants that it deletes; PostgreSQL before 17 searches the index for each
delete from grants
-- The rows are deleted by primary key, because a join that was planned on an empty table would read the entire table.
where organization_id = %(organization_id)s and grant_id = any (array(
    select grant_id
    from grants
    where
        organization_id = %(organization_id)s and expires_at < %(at)s
        -- This condition is always true. The planner uses a partial index only if the statement repeats the index's condition.
        and expires_at < 'infinity'
    order by expires_at
    limit 10000
))
