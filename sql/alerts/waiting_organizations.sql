-- Returns the organizations that have a due delivery to an enabled alert target without a pause and without a lease, one row per
-- organization, sorted by the end of the organization's latest lease, so that the organization that has waited for longest comes
-- first.
-- Parameters: at: the current time.
--
-- for: operator
select alert_deliveries.organization_id
from alert_deliveries
join alert_targets
    on alert_targets.organization_id = alert_deliveries.organization_id
    and alert_targets.target_id = alert_deliveries.target_id
where alert_deliveries.delivered_at is null
    and alert_deliveries.abandoned_at is null
    and alert_deliveries.next_attempt_at <= %(at)s
    and alert_targets.enabled
    and alert_targets.paused_until <= %(at)s
    and alert_targets.leased_until <= %(at)s
group by alert_deliveries.organization_id
order by (
    select max(served.leased_until)
    from alert_targets as served
    where served.organization_id = alert_deliveries.organization_id
), min(alert_deliveries.next_attempt_at)
