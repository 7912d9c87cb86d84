"""A fleet in a file: organizations, agents and resource servers are what the file says (docs/declarative.md)."""
