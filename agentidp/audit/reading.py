"""Reads the events of an organization's chain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agentidp import audit
from agentidp.audit.verification import EventHash
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows

MAX_SEQUENCE = 2**63 - 1
"""Maximum sequence number of an audit event in the database."""

MAX_ID = 500
"""Maximum number of characters of an ID in a filter."""

PAGE_SIZE = 1000
"""Maximum number of audit events that one statement reads."""


def read_chain(database: OrganizationDatabase, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the audit events of an organization with a sequence number above *after*, as JSON, oldest first."""
    while event_rows := database.fetch("audit/events_after", after=after, limit=PAGE_SIZE):
        yield from map(audit.represent, event_rows)
        after = event_rows[-1].sequence


def read_head(database: OrganizationDatabase) -> EventHash | None:
    """Return the stored head of an organization's chain: the last event, or None if the chain has no event."""
    rows = database.fetch("audit/get_head")
    return EventHash(rows[0].sequence, bytes(rows[0].hash).hex()) if rows else None


def build_list_call(
    *,
    below: int | None,
    actor: str | None,
    action: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Call:
    """Return the call that lists an organization's audit events, newest first. A filter of None matches every event.

    :param below: list only events with a lower sequence number; None for the first page.
    """
    # PostgreSQL would not use the index if the statement itself replaced null by the maximum (coalesce).
    below = MAX_SEQUENCE if below is None else below
    filters = {"actor": actor, "action": action, "subject": subject, "since": since, "until": until}
    return Call("audit/list_events", {"below": below, "limit": limit, **filters})


def represent_rows(rows: Rows) -> list[dict[str, Any]]:
    """Return the audit events in a statement's rows as JSON."""
    return list(map(audit.represent, rows))
