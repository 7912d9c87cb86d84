-- The columns of a delegation rule that statements return. A statement includes this list as {delegation_rule}.
delegation_rule_id, name, trust, agent_ids, client_hosts, resources, grant_days, created_at
