-- Deletes an organization's stored sums of the UTC calendar month that contains a day. Returns no row.
-- Parameters: organization_id; on_day (date): the day.
--
-- for: operator
delete from usage_monthly
where organization_id = %(organization_id)s and month = date_trunc('month', %(on_day)s::date::timestamp)::date
