"""The dashboard: pages for the operators of an organization."""
