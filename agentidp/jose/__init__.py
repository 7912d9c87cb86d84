"""Signs and verifies tokens, and manages keys, without Flask and endpoints."""
