-- What statements return of a provisioning rule: they have {provisioning_rule} in place of this list.
provisioning_rule_id, name, trust, agent_template, max_agents, created_at
