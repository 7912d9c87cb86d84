"""Organizations, agents, credentials and resource servers."""
