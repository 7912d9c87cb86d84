"""Verifies that no event of a chain was changed, removed, inserted or moved.

The owner of the tables can replace the whole chain. Only a hash that is kept outside the database reveals that. For
details, see docs/security.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agentidp.audit.chain import CONTENT, NO_HASH, compute_event_hash, content_hash


class Head(NamedTuple):
    """The sequence and hash of an audit event. The stored head of a chain is that of the chain's last event."""

    sequence: int
    hash: str


EMPTY = Head(0, NO_HASH)


class Verification(NamedTuple):
    """The result of verifying one chain of audit events."""

    events: int
    erased: int
    """Number of events whose content was erased, so that it could not be verified."""

    head: Head
    """The last event that was verified."""

    broken_at: int | None
    """The sequence of the first event that is altered or missing. None if the chain is valid."""

    reason: str | None


MISSING = Verification(0, 0, EMPTY, 1, "all events and the head of the chain are missing")
"""The result for an organization that has no audit events and no head of the chain."""


def verify_events(events: Iterable[dict[str, Any]], head: Head | None, noted_event: Head | None = None) -> Verification:
    """Verify a chain of audit events.

    :param events: all events of the chain as JSON, in order.
    :param head: the stored head of the chain, or None if it is missing.
    :param noted_event: an event that was noted outside the database, and must be in the chain unless it was pruned.
    """
    event_count = erased_count = 0
    last_head, pruned_head = EMPTY, EMPTY
    # A chain from which no events were pruned begins after EMPTY, the head of an empty chain.
    pruned_and_recorded = {EMPTY}
    for event in events:
        if event_count == 0:
            last_head = pruned_head = Head(event["sequence"] - 1, event["previousHash"])
        if broken_reason := _find_fault(event, last_head):
            return Verification(event_count, erased_count, last_head, last_head.sequence + 1, broken_reason)
        event_count += 1
        erased_count += event["salt"] is None
        last_head = Head(event["sequence"], event["hash"])
        if noted_event is not None and noted_event.sequence == last_head.sequence and noted_event != last_head:
            return Verification(
                event_count, erased_count, last_head, last_head.sequence, "the event differs from the noted event"
            )
        if event["action"] == "audit.pruned" and event["after"]:
            pruned_and_recorded.add(Head(event["after"]["sequence"], event["after"]["hash"]))
    if pruned_head not in pruned_and_recorded:
        broken_reason = "the events up to this one are missing, and no event records that they were pruned"
        return Verification(event_count, erased_count, last_head, pruned_head.sequence, broken_reason)
    broken_sequence, broken_reason = _difference(last_head, head)
    if broken_sequence is None and noted_event is not None and noted_event.sequence > last_head.sequence:
        broken_sequence, broken_reason = last_head.sequence + 1, "the events from here to the noted event are missing"
    return Verification(event_count, erased_count, last_head, broken_sequence, broken_reason)


def _difference(last: Head, head: Head | None) -> tuple[int | None, str | None]:
    """Return the sequence at which the last event and the stored head differ, and the reason; twice None if equal."""
    if (head or EMPTY) == last:
        return None, None
    if head is None:
        return last.sequence, "the head of the chain is missing"
    if head.sequence > last.sequence:
        return last.sequence + 1, "the events from here to the head of the chain are missing"
    return last.sequence, "the head of the chain is another event"


def _find_fault(event: dict[str, Any], last: Head) -> str | None:
    if event["sequence"] != last.sequence + 1:
        return "the event is missing"
    if event["previousHash"] != last.hash:
        return "the event does not contain the hash of the previous event"
    is_erased = all(event[name] is None for name in CONTENT)
    if not is_erased and content_hash(event) != event["contentHash"]:
        return "the recorded values were altered"
    if compute_event_hash(event) != event["hash"]:
        return "the event was altered"
    return None
