"""The processes that `agentidp serve` starts and supervises."""
