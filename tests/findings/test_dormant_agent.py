"""``dormant_agent``: an active agent that has not asked for a token for 90 days."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agentidp.findings.thresholds import DORMANT_DAYS
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import end_credential
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet, amounts, body, window
from tests.oauth.test_quotas import ask

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
LONG_AGO = NOON - 200 * DAY
LIMIT = NOON - DORMANT_DAYS * DAY
FIRST_DAY = LIMIT.replace(hour=0)
"""Of those on which nothing may be counted."""


def dormant(fleet: Fleet) -> list[str]:
    """The names of those that are reported."""
    return [one["agentName"] for one in fleet.findings("dormant_agent")]


def test_reports_an_agent_and_stands_for_its_credentials(fleet: Fleet) -> None:
    agent_id = fleet.registered("translator", LONG_AGO)
    for used_at in (LIMIT - 10 * DAY, None):
        fleet.credential(agent_id, LONG_AGO, used_at=used_at)
    assert fleet.findings() == [
        body(
            "dormant_agent",
            "info",
            (agent_id, "translator"),
            window=window("2026-01-05T12:00", "2026-04-15T12:00"),
            **amounts(100, 90, "days without a token", "days without a token after which an active agent is reported"),
            alsoSeenAs=["unused_credential"],
            summary="translator has not asked for a token for 100 days: a credential of it was last used at 12:00 UTC "
            "on Monday, 5 January 2026.",
            causes="What it did is done by another agent, or by nobody any more.",
            next="Ask its owner. If nobody needs it, delete it, or suspend it first: then it can be resumed at once.",
        )
    ]


def test_says_so_if_it_has_never_asked(fleet: Fleet) -> None:
    fleet.registered("planned", LIMIT)
    [found] = fleet.findings("dormant_agent")
    assert found["summary"] == (
        "planned has not asked for a token for 90 days: none of its credentials has been used since it was registered, "
        "at 12:00 UTC on Thursday, 15 January 2026."
    )
    assert found["alsoSeenAs"] == []


def test_whatever_was_counted_on_the_days_says_that_it_is_not(fleet: Fleet) -> None:
    for at in (FIRST_DAY - SECOND, FIRST_DAY, NOON):
        for counts in ({"tokens": 1}, {"requests": 1}, {"rejected": 1}):
            fleet.count(fleet.registered(f"{[*counts]} at {at}", LONG_AGO), at, **counts)
    fleet.store()
    before = f"at {FIRST_DAY - SECOND}"
    assert sorted(dormant(fleet)) == [f"['{unit}'] {before}" for unit in ("rejected", "requests", "tokens")]


def test_is_not_dormant_before_90_days_have_gone_by(fleet: Fleet) -> None:
    fleet.registered("new", LIMIT + SECOND)
    used = fleet.registered("used", LONG_AGO)
    # Such as that of a resource server, which asks for no token and introspects those of others.
    revoked = fleet.credential(used, LONG_AGO, used_at=LIMIT + SECOND)
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        end_credential(opened, used, revoked)
    assert dormant(fleet) == []
    fleet.use(revoked, LIMIT)
    assert dormant(fleet) == ["used"]


def test_a_token_ends_it(fleet: Fleet, clock: Clock) -> None:
    clock.now = NOON + DORMANT_DAYS * DAY
    assert dormant(fleet) == [fleet.findings("dormant_agent")[0]["agentName"]]
    assert ask(fleet.client, fleet.reader).status_code == 200
    assert dormant(fleet) == []


def test_nothing_is_said_of_one_that_is_suspended_or_deleted(fleet: Fleet) -> None:
    ids = [fleet.registered(name, LONG_AGO) for name in ("suspended", "deleted")]
    assert sorted(dormant(fleet)) == ["deleted", "suspended"]
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        update_agent(opened, ids[0], {"status": "suspended"})
        remove_agent(opened, ids[1])
    assert dormant(fleet) == []


def test_names_those_that_have_been_dormant_for_longest(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentidp.findings.thresholds.MAX_DORMANT_AGENTS", 1)
    fleet.registered("later", LIMIT - SECOND)
    fleet.registered("first", LONG_AGO)
    assert dormant(fleet) == ["first"]
