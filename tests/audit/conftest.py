"""Read and verify an audit trail as the owner of the tables."""

from __future__ import annotations

from typing import Any

from agentidp import audit
from agentidp.audit.verification import EventHash, Verification, verify_events
from tests.factories import execute, owner_connection


def events_of(url: str, organization_id: str) -> list[dict[str, Any]]:
    """Return the events of a chain as JSON."""
    with owner_connection(url) as connection:
        rows = connection.execute(
            "select * from audit_events where organization_id = %s order by sequence", [organization_id]
        ).fetchall()
    return [audit.represent(row) for row in rows]


def verified(url: str, organization_id: str) -> Verification:
    rows = execute(
        url, "select sequence, encode(hash, 'hex') from audit_heads where organization_id = %s", organization_id
    )
    return verify_events(events_of(url, organization_id), EventHash(*rows[0]) if rows else None)
