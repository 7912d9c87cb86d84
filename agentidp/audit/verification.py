"""Verifies that no event of a chain was changed, removed, inserted or moved.

The owner of the tables can replace the whole chain. Only a hash that is kept outside the database reveals that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agentidp.audit.chain import CONTENT, NO_HASH, compute_event_hash, content_hash


class EventHash(NamedTuple):
    """The sequence number and the hash of an audit event, by which the event is recognized."""

    sequence: int
    hash: str


NO_EVENT = EventHash(0, NO_HASH)
"""The sequence number and the hash to which the first event of a chain refers as its previous event."""


class Verification(NamedTuple):
    """The result of verifying one chain of audit events."""

    events: int
    erased: int
    """Number of events whose content was erased and could not be verified."""

    last_event: EventHash
    """The last event that was verified."""

    broken_at: int | None
    """The sequence number of the first event that is altered or missing. None if the chain is valid."""

    reason: str | None


MISSING = Verification(0, 0, NO_EVENT, 1, "all events and the head of the chain are missing")
"""The result for an organization that has no audit events and no head of the chain."""


def verify_events(
    events: Iterable[dict[str, Any]], head: EventHash | None, noted_event: EventHash | None = None
) -> Verification:
    """Return whether a chain of audit events is valid, and otherwise where it is broken and why.

    :param events: all events of the chain as JSON, in order.
    :param head: the stored head of the chain, which is its last event; ``None`` if the head is missing.
    :param noted_event: an event that was noted outside the database, and must be in the chain unless it was pruned.
    """
    event_count = erased_count = 0
    last_event = last_pruned_event = NO_EVENT
    recorded_pruned_events = {NO_EVENT}
    for event in events:
        if event_count == 0:
            last_event = last_pruned_event = EventHash(event["sequence"] - 1, event["previousHash"])
        if reason := _find_fault(event, last_event):
            return Verification(event_count, erased_count, last_event, last_event.sequence + 1, reason)
        event_count += 1
        erased_count += event["salt"] is None
        last_event = EventHash(event["sequence"], event["hash"])
        if noted_event is not None and noted_event.sequence == last_event.sequence and noted_event != last_event:
            reason = "the event differs from the noted event"
            return Verification(event_count, erased_count, last_event, last_event.sequence, reason)
        if event["action"] == "audit.pruned" and event["after"]:
            recorded_pruned_events.add(EventHash(event["after"]["sequence"], event["after"]["hash"]))
    if last_pruned_event not in recorded_pruned_events:
        reason = "the events up to this one are missing, and no event records that they were pruned"
        return Verification(event_count, erased_count, last_event, last_pruned_event.sequence, reason)
    broken_sequence, reason = _compare_head(head, last_event)
    if broken_sequence is None and noted_event is not None and noted_event.sequence > last_event.sequence:
        broken_sequence, reason = last_event.sequence + 1, "the events from here to the noted event are missing"
    return Verification(event_count, erased_count, last_event, broken_sequence, reason)


def _compare_head(head: EventHash | None, last_event: EventHash) -> tuple[int | None, str | None]:
    """Return the sequence number of the first event that contradicts the head, and the reason; or None and None."""
    if (head or NO_EVENT) == last_event:
        return None, None
    if head is None:
        return last_event.sequence, "the head of the chain is missing"
    if head.sequence > last_event.sequence:
        return last_event.sequence + 1, "the events from here to the head of the chain are missing"
    return last_event.sequence, "the head of the chain is another event"


def _find_fault(event: dict[str, Any], previous_event: EventHash) -> str | None:
    if event["sequence"] != previous_event.sequence + 1:
        return "the event is missing"
    if event["previousHash"] != previous_event.hash:
        return "the event does not contain the hash of the previous event"
    is_erased = all(event[member_name] is None for member_name in CONTENT)
    if not is_erased and content_hash(event) != event["contentHash"]:
        return "the recorded values were altered"
    if compute_event_hash(event) != event["hash"]:
        return "the event was altered"
    return None
