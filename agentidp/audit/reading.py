"""Read a chain, in parts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agentidp import audit
from agentidp.audit.verification import Head
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows

MAX_SEQUENCE = 2**63 - 1
"""What the database can store."""

MAX_ID = 500
"""Characters of an ID by which events are selected."""

PART = 1000
"""Events that one statement reads."""


def chain(database: OrganizationDatabase, after: int = 0) -> Iterator[dict[str, Any]]:
    """The events of an organization as JSON, oldest first.

    :param after: the sequence of the last event that is left out.
    """
    while rows := database.fetch("audit/events_after", after=after, limit=PART):
        yield from map(audit.represent, rows)
        after = rows[-1].sequence


def head_of(database: OrganizationDatabase) -> Head | None:
    """The last event of an organization; ``None`` if nothing was recorded yet."""
    rows = database.fetch("audit/get_head")
    return Head(rows[0].sequence, bytes(rows[0].hash).hex()) if rows else None


def list_call(
    *,
    below: int | None,
    actor: str | None,
    action: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> Call:
    """The statement that reads events of an organization, newest first; a filter that is ``None`` selects all.

    :param below: the sequence of the last event of the page before, if there is one.
    """
    # Compared as it is: PostgreSQL would not look up a coalesce() in the index.
    below = MAX_SEQUENCE if below is None else below
    filters = {"actor": actor, "action": action, "subject": subject, "since": since, "until": until}
    return Call("audit/list_events", {"below": below, "limit": limit, **filters})


def represented(rows: Rows) -> list[dict[str, Any]]:
    """The events in the rows of a statement as JSON."""
    return list(map(audit.represent, rows))
