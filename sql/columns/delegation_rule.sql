-- What statements return of a delegation rule: they have {delegation_rule} in place of this list.
delegation_rule_id, name, trust, agent_ids, resources, created_at
