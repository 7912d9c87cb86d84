"""What `agentidp serve` starts and watches."""
