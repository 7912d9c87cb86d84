-- The columns of a delegation rule that statements return. A statement has {delegation_rule} in place of this list.
delegation_rule_id, name, trust, agent_ids, client_hosts, resources, grant_days, created_at
