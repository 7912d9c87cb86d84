-- Deletes what was counted of tokens by exchange on a UTC day. Returns no row.
-- Parameters: organization_id; on_day: the day.
--
-- for: operator
delete from delegation_usage_daily
where organization_id = %(organization_id)s and day = %(on_day)s::date
