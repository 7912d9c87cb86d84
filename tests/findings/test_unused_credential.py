"""``unused_credential``: a credential in force that nobody uses: never, or no longer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.thresholds import UNUSED_DAYS
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import end_credential
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet, amounts, body, window
from tests.oauth.test_quotas import ask

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LONG_AGO = NOON - 200 * DAY
LIMIT = NOON - UNUSED_DAYS * DAY


@pytest.fixture
def agent_id(fleet: Fleet) -> UUID:
    """An agent that works."""
    agent_id = fleet.agent("reader")
    fleet.count(agent_id, NOON, 1)
    fleet.store()
    return agent_id


def test_tells_a_credential_that_was_never_used_from_one_that_is_no_longer_used(fleet: Fleet, agent_id: UUID) -> None:
    never = fleet.credential(agent_id, LIMIT, label="for the new gateway")
    once = fleet.credential(agent_id, LONG_AGO, used_at=LIMIT - 10 * DAY)
    common: dict[str, Any] = {
        "about": (agent_id, "reader"),
        "next": "If nobody needs it, revoke it: a secret that nobody uses can still leak.",
    }
    baseline = "days without use after which a credential in force is reported"
    assert sorted(fleet.findings("unused_credential"), key=lambda one: one["observed"]["value"]) == [
        body(
            "unused_credential",
            "info",
            credentialId=str(never),
            window=window("2026-01-15T12:00", "2026-04-15T12:00"),
            **amounts(90, 90, "days without use", baseline),
            summary='The credential "for the new gateway" of reader has never been used since it was created, at 12:00 '
            "UTC on Thursday, 15 January 2026.",
            causes="It was perhaps made for something that never came, or the one who made it used another.",
            **common,
        ),
        body(
            "unused_credential",
            "info",
            credentialId=str(once),
            window=window("2026-01-05T12:00", "2026-04-15T12:00"),
            **amounts(100, 90, "days without use", baseline),
            summary=f"The credential {once} of reader was last used at 12:00 UTC on Monday, 5 January 2026.",
            causes="Whatever used it was moved to another credential, or no longer runs.",
            **common,
        ),
    ]


def test_a_credential_is_unused_after_90_days_and_not_before(fleet: Fleet, agent_id: UUID) -> None:
    fleet.credential(agent_id, LIMIT + SECOND)
    fleet.credential(agent_id, LONG_AGO, used_at=LIMIT + SECOND)
    assert fleet.findings("unused_credential") == []
    unused = fleet.credential(agent_id, LONG_AGO, used_at=LIMIT)
    assert [one["credentialId"] for one in fleet.findings("unused_credential")] == [str(unused)]


def test_a_token_ends_it(fleet: Fleet, clock: Clock) -> None:
    # The reader's own credential, with which it has got no token so far; another agent works.
    clock.now = NOON + UNUSED_DAYS * DAY
    fleet.count(fleet.reader.agent_id, clock.now, requests=1)
    fleet.store()
    [found] = fleet.findings("unused_credential")
    assert found["agentId"] == str(fleet.reader.agent_id)
    assert ask(fleet.client, fleet.reader).status_code == 200
    assert fleet.findings("unused_credential") == []


def test_nothing_is_said_of_one_that_is_not_in_force_or_that_its_agent_cannot_use(fleet: Fleet) -> None:
    ids = {name: fleet.agent(name) for name in ("ended", "revoked", "suspended", "deleted")}
    for agent_id in ids.values():
        fleet.count(agent_id, NOON, 1)
    fleet.store()
    unused = {
        name: fleet.credential(agent_id, LONG_AGO, expires_at=NOON + SECOND if name == "ended" else None)
        for name, agent_id in ids.items()
    }
    assert {one["agentName"] for one in fleet.findings("unused_credential")} == {*ids}
    fleet.services.clock.now = NOON + SECOND  # type: ignore[attr-defined]
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        end_credential(opened, ids["revoked"], unused["revoked"])
        update_agent(opened, ids["suspended"], {"status": "suspended"})
        remove_agent(opened, ids["deleted"])
    assert fleet.findings("unused_credential") == []


def test_names_those_that_have_been_unused_for_longest(
    fleet: Fleet, agent_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentidp.findings.thresholds.MAX_UNUSED_CREDENTIALS", 1)
    fleet.credential(agent_id, LIMIT)
    first = fleet.credential(agent_id, LONG_AGO - DAY, used_at=LIMIT - SECOND)
    assert [one["credentialId"] for one in fleet.findings("unused_credential")] == [str(first)]
