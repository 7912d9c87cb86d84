-- Locks an alert target and returns it with its encrypted address, or no row.
-- Parameters: organization_id, target_id.
select target_id, name, type, destination, sealed, kinds, owners, minimum_severity, enabled
from alert_targets
where organization_id = %(organization_id)s
    and target_id = %(target_id)s
for update
