"""Exports, verifies, prunes and erases the audit trails of all organizations, for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from agentidp import audit
from agentidp.audit.reading import read_chain, read_head
from agentidp.audit.verification import EventHash, Verification, verify_events
from agentidp.db.database import Database
from agentidp.db.organization import OrganizationDatabase, Transaction, operator_transaction
from agentidp.db.sql import run_statement


class Pruned(NamedTuple):
    """The audit events that were removed from the beginning of a chain."""

    organization_id: str
    events: int
    last: int
    """The sequence number of the last removed event."""


def read_last_sequences(operator: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the last sequence number of every chain of audit events, including the instance's, by organization ID."""
    organization_rows = run_statement(operator, "audit/all_heads")
    return {organization_row.organization_id: organization_row.sequence for organization_row in organization_rows}


def list_organizations_without_chain(operator: psycopg.Connection[Any]) -> list[str]:
    """Return the IDs of organizations whose audit events have all been removed."""
    organization_rows = run_statement(operator, "audit/unchained_organizations")
    return [organization_row.organization_id for organization_row in organization_rows]


def read_events_since(
    operator: psycopg.Connection[Any],
    database: Database,
    last_sequences: dict[str, int],
    at: datetime,
    *,
    only: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the audit events that the caller does not have yet, from all chains, each chain in order.

    :param last_sequences: by organization ID, the sequence number of the last event that the caller has. All events of
        an organization without an entry are yielded. This function updates the dictionary.
    :param only: the ID of the only organization whose events are yielded; None for all organizations.
    """
    for organization_id, stored_sequence in read_last_sequences(operator).items():
        last_sequence = last_sequences.get(organization_id, 0)
        if stored_sequence > last_sequence and only in (None, organization_id):
            for event in read_chain(database.of(organization_id, at), last_sequence):
                yield event
                last_sequences[organization_id] = event["sequence"]


def verify_chain(database: OrganizationDatabase, noted_event: EventHash | None = None) -> Verification:
    """Return whether an organization's chain of audit events is valid, and otherwise where it is broken and why.

    :param noted_event: an event that was noted outside the database, and must be in the chain unless it was pruned.
    """
    # A failed verification is repeated if events were added meanwhile, because these events may be the cause.
    while True:
        chain_head = read_head(database)
        verification = verify_events(read_chain(database), chain_head, noted_event)
        if verification.broken_at is None or read_head(database) == chain_head:
            return verification


def count_prunable(operator: psycopg.Connection[Any], organization_id: str, *, cutoff: datetime, at: datetime) -> int:
    """Return the number of audit events that :func:`prune_events` would remove."""
    with operator_transaction(operator, organization_id, at) as transaction:
        last_event_rows = transaction.fetch("audit/last_before", cutoff=cutoff)
    return int(last_event_rows[0].events) if last_event_rows else 0


def prune_events(
    operator: psycopg.Connection[Any], organization_id: str, *, cutoff: datetime, at: datetime
) -> Pruned | None:
    """Remove the audit events older than *cutoff* from an organization's chain, and record the removal in the chain.

    :returns: the number of removed events and the last sequence number among them; None if no event was removed.
    """
    with operator_transaction(operator, organization_id, at) as transaction:
        last_event_rows = transaction.fetch("audit/last_before", cutoff=cutoff)
        if not last_event_rows:
            return None
        [last_event_row] = last_event_rows
        [count_row] = transaction.fetch("audit/prune_events", sequence=last_event_row.sequence)
        last_removed_event = {"sequence": last_event_row.sequence, "hash": bytes(last_event_row.hash).hex()}
        audit.record(
            transaction, "audit.pruned", organization_id, after=last_removed_event | {"events": count_row.events}
        )
    return Pruned(organization_id, count_row.events, last_event_row.sequence)


def erase_recorded_values(transaction: Transaction, subjects: list[str] | None) -> int:
    """Erase the recorded values of audit events, but not actor, action and time. Return the number of changed events.

    :param subjects: IDs of the events' subjects. None means all events.
    """
    [count_row] = transaction.fetch("audit/erase_content", subjects=subjects)
    return int(count_row.events)
