"""Applies a file that describes a fleet: organizations, agents and resource servers (docs/declarative.md)."""
