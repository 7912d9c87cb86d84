-- Returns the organization's latest deliveries of alerts, one row per delivery, newest first. title is the title of the message.
-- Parameters: organization_id; limit: the maximum number of rows.
select
    alert_deliveries.delivery_id,
    alert_deliveries.target_id,
    alert_targets.name as target_name,
    alert_deliveries.finding_id,
    alert_deliveries.change,
    alert_deliveries.payload ->> 'title' as title,
    alert_deliveries.created_at,
    alert_deliveries.attempts,
    alert_deliveries.next_attempt_at,
    alert_deliveries.delivered_at,
    alert_deliveries.abandoned_at,
    alert_deliveries.last_error
from alert_deliveries
join alert_targets
    on alert_targets.organization_id = %(organization_id)s
    and alert_targets.target_id = alert_deliveries.target_id
where alert_deliveries.organization_id = %(organization_id)s
order by alert_deliveries.created_at desc
limit %(limit)s
