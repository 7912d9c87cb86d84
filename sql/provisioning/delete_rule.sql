-- Deletes a provisioning rule. Returns the rule's columns, or no row if there is no such rule.
-- Parameters: organization_id; provisioning_rule_id.
delete from provisioning_rules
where organization_id = %(organization_id)s and provisioning_rule_id = %(provisioning_rule_id)s::uuid
returning {provisioning_rule}
