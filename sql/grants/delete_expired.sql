-- Deletes the grants of an organization that have expired. Returns no row. Parameters: organization_id; at (timestamptz).
--
-- example: at=3000-01-01T00:00:00+00:00
-- max-pages-read: 110000, for each of the at most 100,000 grants that it deletes
delete from grants
where
    organization_id = %(organization_id)s and expires_at < %(at)s
    -- This condition is always true. The planner needs it to use the partial index with the same condition.
    and expires_at < 'infinity'
