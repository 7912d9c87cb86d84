"""The HTTP client for AgentIdP's own requests, and the rule for allowed addresses."""
