"""Requests and responses: their context, errors, schemas and description; no endpoint."""
