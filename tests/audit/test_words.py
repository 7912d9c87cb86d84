"""Sentences about audit events."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.audit.words import describe_event

ALICE, BUILDER = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
NAMES_BY_ID = {ALICE: "alice", BUILDER: "builder"}


def new_event(action: str, subject: str, actor: str = ALICE, **after: Any) -> dict[str, Any]:
    """Return an event as JSON, with the members that a sentence needs."""
    kind = action.partition(".")[0]
    return {"action": action, "subjectType": kind, "subject": subject, "actor": actor, "before": None, "after": after}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (new_event("agent.link_created", BUILDER), "alice created a sign-in link for builder"),
        (new_event("agent.erased", "gone", "root"), "root erased the texts of gone"),
        (new_event("quota.changed", BUILDER), "alice set a quota of builder"),
        (
            new_event("credential.revoked", "x", label="old", agentId=BUILDER),
            "alice revoked the credential old of builder",
        ),
        (new_event("alert_target.deleted", "x", name="on-call"), "alice deleted the alert target on-call"),
        (new_event("finding.muted", "x", kind="spike"), "alice muted the finding spike"),
    ],
)
def test_names_the_actor_the_verb_and_the_subject(event: dict[str, Any], expected: str) -> None:
    assert describe_event(event, NAMES_BY_ID) == expected
