-- Deletes what an organization's counters hold of a UTC day. Returns no row.
-- Parameters: organization_id; on_day: the day.
--
-- for: operator
delete from usage_daily
where organization_id = %(organization_id)s and day = %(on_day)s::date
