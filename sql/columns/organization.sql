-- The columns of an organization that statements return. A statement has {organization} in place of this list.
organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days, provisions_agents
