"""Imports, exports and deletes past usage, and stores monthly sums."""
