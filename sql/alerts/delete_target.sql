-- Deletes an alert target and its deliveries. Returns its row, or none if there is no such target.
-- Parameters: organization_id, target_id.
delete from alert_targets
where organization_id = %(organization_id)s and target_id = %(target_id)s
returning {alert_target}
