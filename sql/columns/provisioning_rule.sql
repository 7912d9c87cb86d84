-- The columns of a provisioning rule that statements return. A statement includes this list as {provisioning_rule}.
provisioning_rule_id, name, trust, agent_template, max_agents, created_at
