-- Deletes an alert target and its deliveries. Returns the target's row, or no row if there is no such target.
-- Parameters: organization_id, target_id.
delete from alert_targets
where organization_id = %(organization_id)s and target_id = %(target_id)s
returning {alert_target}
