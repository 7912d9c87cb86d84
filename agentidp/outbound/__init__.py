"""The HTTP client for AgentIdP's own requests, the rule for allowed addresses, and the places of waiting requests."""
