-- Deletes a delegation rule. Returns its columns, or no row if it does not exist.
-- Parameters: organization_id; delegation_rule_id.
delete from delegation_rules
where organization_id = %(organization_id)s and delegation_rule_id = %(delegation_rule_id)s::uuid
returning {delegation_rule}
