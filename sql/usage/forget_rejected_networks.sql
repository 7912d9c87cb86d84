-- Deletes an organization's rows about failed authentications per network that are older than the retention period. Returns no
-- row.
-- Parameters: organization_id; day: today in UTC; keep_days: the number of days to keep, today included.
--
-- max-pages-read: 7000, for the six thousand rows that it deletes
-- example: keep_days=0
delete from rejected_networks
where organization_id = %(organization_id)s and day <= %(day)s::date - %(keep_days)s::integer
