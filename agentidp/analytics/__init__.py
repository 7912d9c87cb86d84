"""The analytics endpoints, with one module per endpoint."""
