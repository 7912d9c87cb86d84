"""Names the functions in PostgreSQL that belong to an organization."""

from __future__ import annotations

from agentidp.db.sql import sql_directory

FUNCTIONS = sorted((sql_directory() / "functions").glob("*.sql"))


OF_AN_ORGANIZATION = [file for file in FUNCTIONS if "language plpgsql" in file.read_text(encoding="utf-8")]
"""Functions with statements, which read or write an organization's rows. All other functions only calculate."""
