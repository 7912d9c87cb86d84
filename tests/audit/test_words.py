"""The audit trail in words."""

from __future__ import annotations

from typing import Any

import pytest

from agentidp.audit import ACTIONS
from agentidp.audit.words import WORDS, sentence

ALICE, BUILDER = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
KNOWN = {ALICE: "alice", BUILDER: "builder"}


def event(action: str, subject: str, actor: str = ALICE, **after: Any) -> dict[str, Any]:
    """As our JSON has it."""
    kind = action.partition(".")[0]
    return {"action": action, "subjectType": kind, "subject": subject, "actor": actor, "before": None, "after": after}


def test_has_words_for_every_action() -> None:
    assert set(WORDS) == set(ACTIONS)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (event("agent.link_created", BUILDER), "alice created a sign-in link for builder"),
        (event("agent.erased", "gone", "root"), "root erased the texts of gone"),
        (event("quota.changed", BUILDER), "alice set a quota of builder"),
        (event("credential.revoked", "x", label="old", agentId=BUILDER), "alice revoked the credential old of builder"),
        (event("alert_target.deleted", "x", name="on-call"), "alice deleted the alert target on-call"),
        (event("finding.muted", "x", kind="spike"), "alice muted the finding spike"),
    ],
)
def test_names_who_did_what_of_what(found: dict[str, Any], expected: str) -> None:
    assert sentence(found, KNOWN) == expected
