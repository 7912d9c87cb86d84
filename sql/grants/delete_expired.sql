-- Deletes the grants of an organization that have expired. Returns no row. Parameters: organization_id; at (timestamptz).
--
-- pages: 10000, for each of the at most 100,000 grants that it deletes
delete from grants
where
    organization_id = %(organization_id)s and expires_at < %(at)s
    -- For the index.
    and expires_at < 'infinity'
