-- Deletes the stored sums of an organization's UTC calendar month that has a day. Returns no row.
-- Parameters: organization_id; on_day (date): the day.
--
-- for: operator
delete from usage_monthly
where organization_id = %(organization_id)s and month = date_trunc('month', %(on_day)s::date::timestamp)::date
