"""What the operator does with the trails of all organizations: export, verify and prune them.

The functions that change something use a connection of the operator, as the role that owns the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from agentidp import audit
from agentidp.audit.reading import chain, head_of
from agentidp.audit.verification import Head, Verification, verify
from agentidp.db.database import Database
from agentidp.db.organization import OrganizationDatabase, Transaction, operator_transaction
from agentidp.db.sql import load_sql


class Pruned(NamedTuple):
    """What was removed from a chain."""

    organization_id: str
    events: int
    last: int
    """The sequence of the last event that was removed."""


def chains(operator: psycopg.Connection[Any]) -> dict[str, int]:
    """The organizations that have a chain, and the sequence of its last event; with that of the instance."""
    rows = operator.execute(load_sql("audit/all_heads")).fetchall()
    return {row.organization_id: row.sequence for row in rows}


def unchained(operator: psycopg.Connection[Any]) -> list[str]:
    """The organizations whose whole chain is missing, with its head: each has an event of its creation."""
    rows = operator.execute(load_sql("audit/unchained_organizations")).fetchall()
    return [row.organization_id for row in rows]


def events_since(
    operator: psycopg.Connection[Any],
    database: Database,
    positions: dict[str, int],
    at: datetime,
    *,
    only: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The events of all chains that were not returned yet, each chain's in order.

    :param only: this organization's alone.
    :param positions: the sequence of the last event of each chain that was returned; it is kept up to date.
    :param at: now.
    """
    for organization_id, last in chains(operator).items():
        if last > positions.get(organization_id, 0) and only in (None, organization_id):
            for event in chain(database.of(organization_id, at), positions.get(organization_id, 0)):
                yield event
                positions[organization_id] = event["sequence"]


def verify_chain(database: OrganizationDatabase, known: Head | None = None) -> Verification:
    """Verify an organization's chain, to which events may be added meanwhile.

    :param known: an event that was noted elsewhere, which must be in the chain unless it was pruned.
    """
    while True:
        head = head_of(database)
        result = verify(chain(database), head, known)
        if result.broken_at is None or head_of(database) == head:
            return result


def prunable(operator: psycopg.Connection[Any], organization_id: str, *, cutoff: datetime, at: datetime) -> int:
    """How many events of a chain are older than *cutoff*, which :func:`prune` would remove."""
    with operator_transaction(operator, organization_id, at) as opened:
        rows = opened.fetch("audit/last_before", cutoff=cutoff)
    return int(rows[0].events) if rows else 0


def prune(operator: psycopg.Connection[Any], organization_id: str, *, cutoff: datetime, at: datetime) -> Pruned | None:
    """Remove the events of a chain that are older than *cutoff*, and record it, so that the rest can be verified.

    :returns: ``None`` if there are none.
    """
    with operator_transaction(operator, organization_id, at) as opened:
        rows = opened.fetch("audit/last_before", cutoff=cutoff)
        if not rows:
            return None
        [last] = rows
        [removed] = opened.fetch("audit/prune_events", sequence=last.sequence)
        removed_up_to = {"sequence": last.sequence, "hash": bytes(last.hash).hex()}
        audit.record(opened, "audit.pruned", organization_id, after=removed_up_to | {"events": removed.events})
    return Pruned(organization_id, removed.events, last.sequence)


def erase(opened: Transaction, subjects: list[str] | None) -> int:
    """Erase names and other content from the events about *subjects*. Who did what and when stays in the chain.

    :param opened: a transaction of the operator.
    :param subjects: ids of agents, credentials and others; ``None`` for all events.
    :returns: how many events had content.
    """
    [erased] = opened.fetch("audit/erase_content", subjects=subjects)
    count: int = erased.events
    return count
