"""The registry: agents and their credentials."""
