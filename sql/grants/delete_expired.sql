-- Deletes the grants of an organization that have expired. Returns no row. Parameters: organization_id; at (timestamptz).
--
-- example: at=3000-01-01T00:00:00+00:00
-- pages: 10000, for each of the at most 100,000 grants that it deletes
delete from grants
where
    organization_id = %(organization_id)s and expires_at < %(at)s
    -- Always true, but the partial index has this condition too, so the planner can use the index.
    and expires_at < 'infinity'
