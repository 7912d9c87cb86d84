"""What an audit trail contains."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from agentidp import audit
from agentidp.audit.verification import Head, Verification, verify


def events_of(url: str, organization_id: str) -> list[dict[str, Any]]:
    """The events of a chain as JSON, read as the owner."""
    with psycopg.connect(url, row_factory=namedtuple_row) as connection:
        rows = connection.execute(
            "select * from audit_events where organization_id = %s order by sequence", [organization_id]
        ).fetchall()
    return [audit.represent(row) for row in rows]


def verified(url: str, organization_id: str) -> Verification:
    """The result of verifying a chain."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select sequence, encode(hash, 'hex') from audit_heads where organization_id = %s", [organization_id]
        ).fetchone()
    return verify(events_of(url, organization_id), None if row is None else Head(*row))
