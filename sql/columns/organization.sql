-- What statements return of an organization: they have {organization} in place of this list.
organization_id, name, monthly_token_budget, suspended_at, created_at, suspend_dormant_after_days, provisions_agents
