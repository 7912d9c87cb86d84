"""Offers the analytics to agents as tools of the Model Context Protocol."""
