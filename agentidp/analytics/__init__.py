"""The analytics endpoints: a blueprint, a schema and a query each."""
