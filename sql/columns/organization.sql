-- The columns of an organization that statements return. A statement includes this list as {organization}.
organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days, provisions_agents
