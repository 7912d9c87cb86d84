"""Past usage: taken over from another provider, exported, and deleted when it is old enough."""
