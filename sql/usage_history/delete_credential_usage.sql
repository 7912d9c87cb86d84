-- Deletes what was counted by credential and resource on a UTC day. Returns no row.
-- Parameters: organization_id; on_day: the day.
--
-- for: operator
delete from credential_usage_daily
where organization_id = %(organization_id)s and day = %(on_day)s::date
