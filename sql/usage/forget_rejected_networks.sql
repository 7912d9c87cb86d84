-- Deletes an organization's networks of failed authentications that are older than it keeps. Returns no row.
-- Parameters: organization_id; day: today in UTC; keep_days: how many days are kept, this one included.
--
-- pages: 7000, each of the six thousand rows that it deletes
-- example: keep_days=0
delete from rejected_networks
where organization_id = %(organization_id)s and day <= %(day)s::date - %(keep_days)s::integer
