"""Requests that AgentIdP makes: one HTTP client, and the rule for the addresses that it connects to."""
