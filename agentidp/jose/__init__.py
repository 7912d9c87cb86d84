"""Tokens and keys: sign and verify; no Flask and no endpoint."""
