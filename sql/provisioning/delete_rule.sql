-- Deletes a provisioning rule. Returns its columns, or no row if it does not exist.
-- Parameters: organization_id; provisioning_rule_id.
delete from provisioning_rules
where organization_id = %(organization_id)s and provisioning_rule_id = %(provisioning_rule_id)s::uuid
returning {provisioning_rule}
