-- Deletes a delegation rule and the grants that people have made by the rule. Returns the rule's columns, or no row if there
-- is no such rule.
-- Parameters: organization_id; delegation_rule_id.
with ended as (
    delete from grants
    where
        organization_id = %(organization_id)s and delegation_rule_id = %(delegation_rule_id)s::uuid
        -- This condition is always true. The planner uses a partial index only if the statement repeats the index's condition.
        and delegation_rule_id >= nil_uuid()
)
delete from delegation_rules
where organization_id = %(organization_id)s and delegation_rule_id = %(delegation_rule_id)s::uuid
returning {delegation_rule}
