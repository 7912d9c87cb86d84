-- Stores the address of an alert target encrypted again. Returns no row.
-- Parameters: organization_id, target_id, sealed.
update alert_targets
set sealed = %(sealed)s
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
