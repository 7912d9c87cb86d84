-- The columns of a provisioning rule that statements return. A statement has {provisioning_rule} in place of this list.
provisioning_rule_id, name, trust, agent_template, max_agents, created_at
