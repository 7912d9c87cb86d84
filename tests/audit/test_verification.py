"""``verify`` on lists of events: the first altered or missing event, and the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentidp.audit.chain import CONTENT, NO_HASH, compute_event_hash, content_hash
from agentidp.audit.verification import NO_EVENT, EventHash, Verification, verify_events

Events = list[dict[str, Any]]


def chain(*actions: str) -> Events:
    """Return a chain of events with these actions. ``audit.pruned`` records the removal of the first event."""
    events: Events = []
    for sequence, action in enumerate(actions, 1):
        after: dict[str, Any] = {"name": f"{sequence}"}
        if action == "audit.pruned":
            after = {"sequence": 1, "hash": events[0]["hash"]}
        previous = events[-1]["hash"] if events else NO_HASH
        event = {"sequence": sequence, "action": action, "before": None, "after": after, "salt": f"{sequence}"}
        event |= {"contentHash": content_hash(event), "previousHash": previous}
        events.append(event | {"hash": compute_event_hash(event)})
    return events


def head_of(events: Events) -> EventHash:
    """Return the last event as the head of the chain."""
    return EventHash(events[-1]["sequence"], events[-1]["hash"])


THREE = chain("organization.created", "agent.created", "agent.changed")
HEAD = head_of(THREE)
REWRITTEN = chain("organization.created", "agent.created", "agent.deleted")


def changed(number: int, **members: Any) -> Events:
    """Return three events, with changed members in the event with a sequence."""
    return [event | (members if event["sequence"] == number else {}) for event in THREE]


UNRECORDED = "the events up to this one are missing, and no event records that they were pruned"


@pytest.mark.parametrize(
    ("events", "head", "known", "broken_at", "reason"),
    [
        (THREE, HEAD, None, None, None),
        ([], None, None, None, None),
        (changed(2, action="x"), HEAD, None, 2, "the event was altered"),
        (changed(2, after={"name": "x"}), HEAD, None, 2, "the recorded values were altered"),
        # Only the whole content can be erased, not single members.
        (changed(2, after=None), HEAD, None, 2, "the recorded values were altered"),
        (changed(2, **dict.fromkeys(CONTENT)), HEAD, None, None, None),
        (THREE[::2], HEAD, None, 2, "the event is missing"),
        (THREE[1:], HEAD, None, 1, UNRECORDED),
        (THREE[:2], HEAD, None, 3, "the events from here to the head of the chain are missing"),
        ([], HEAD, None, 1, "the events from here to the head of the chain are missing"),
        (changed(3, previousHash=NO_HASH), HEAD, None, 3, "the event does not contain the hash of the previous event"),
        (changed(3, hash=NO_HASH), HEAD, None, 3, "the event was altered"),
        (THREE, None, None, 3, "the head of the chain is missing"),
        (THREE, head_of(THREE[:2]), None, 3, "the head of the chain is another event"),
        (THREE, HEAD, HEAD, None, None),
        # The owner of the tables can rewrite all events and the head. Only a known event reveals that.
        (REWRITTEN, head_of(REWRITTEN), HEAD, 3, "the event differs from the noted event"),
        (THREE[:2], head_of(THREE[:2]), HEAD, 3, "the events from here to the noted event are missing"),
    ],
)
def test_names_the_first_event_that_is_wrong(
    events: Events, head: EventHash | None, known: EventHash | None, broken_at: int | None, reason: str | None
) -> None:
    result = verify_events(events, head, known)
    assert (result.broken_at, result.reason) == (broken_at, reason)


def test_counts_what_it_has_verified_and_what_was_erased() -> None:
    assert verify_events(changed(2, **dict.fromkeys(CONTENT)), HEAD) == Verification(3, 1, HEAD, None, None)
    assert verify_events([], None) == Verification(0, 0, NO_EVENT, None, None)


@pytest.mark.parametrize(("remaining", "broken_at"), [(slice(1, None), None), (slice(2, None), 2)])
def test_a_chain_whose_beginning_was_pruned_is_whole(remaining: slice, broken_at: int | None) -> None:
    events = chain("organization.created", "agent.created", "audit.pruned")
    assert verify_events(events[remaining], head_of(events)).broken_at == broken_at


@pytest.mark.parametrize("hashed", [content_hash, compute_event_hash])
def test_the_hashes_cover_all_of_an_event(hashed: Callable[[dict[str, Any]], str]) -> None:
    """Without ``previousHash`` in the hash, an event could be replaced without changing the events after it."""
    event = THREE[-1]
    covered = {name for name in event if hashed(event | {name: "another"}) != hashed(event)}
    assert covered == ({*CONTENT} if hashed is content_hash else event.keys() - {"hash", *CONTENT})
