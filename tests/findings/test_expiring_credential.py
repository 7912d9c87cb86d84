"""``expiring_credential``: a credential that ends soon, and the reminders before its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.expiring_credential import has_moved, reminders_due
from agentidp.findings.thresholds import EXPIRY_REMINDERS, MAX_EXPIRING_CREDENTIALS, MOVED_AFTER
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import end_credential
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ENDS = NOON + 400 * DAY


@pytest.mark.parametrize("place", range(len(EXPIRY_REMINDERS)))
def test_a_reminder_is_due_from_so_many_days_before_the_end_on(place: int) -> None:
    days = EXPIRY_REMINDERS[place]
    assert reminders_due(NOON, ENDS, ENDS - days * DAY) == [*EXPIRY_REMINDERS[: place + 1]]
    assert reminders_due(NOON, ENDS, ENDS - days * DAY - SECOND) == [*EXPIRY_REMINDERS[:place]]


def test_the_reminders_are_those_of_the_documentation() -> None:
    assert EXPIRY_REMINDERS == (30, 14, 7, 1)


@pytest.mark.parametrize(("lifetime", "due"), [(10, [7, 1]), (7, [1]), (1, []), (0.5, [])])
def test_reminders_from_before_the_credential_was_created_are_left_out(lifetime: float, due: list[int]) -> None:
    ends = NOON + lifetime * DAY
    assert reminders_due(NOON, ends, ends) == due


@pytest.mark.parametrize(
    ("last_used_at", "moved_at", "expected"),
    [
        (None, None, False),
        (NOON, None, False),
        (None, NOON, True),
        (NOON, NOON + MOVED_AFTER, True),
        (NOON, NOON + MOVED_AFTER - SECOND, False),
        (NOON, NOON - DAY, False),
    ],
)
def test_an_agent_has_moved_if_it_has_used_another_for_a_day(
    last_used_at: datetime | None, moved_at: datetime | None, expected: bool
) -> None:
    assert has_moved(last_used_at, moved_at) is expected


def expiring(fleet: Fleet, **values: Any) -> tuple[UUID, UUID]:
    """An agent and its credential, which was created a hundred days ago and ends in six days and an hour."""
    agent_id = fleet.agent("reader")
    given = {"label": "production", "expires_at": NOON + timedelta(days=6, hours=1)} | values
    return agent_id, fleet.credential(agent_id, NOON - 100 * DAY, **given)


def test_reports_a_credential_that_ends_in_six_days(fleet: Fleet) -> None:
    agent_id, credential_id = expiring(fleet, used_at=NOON - DAY)
    assert fleet.findings("expiring_credential") == [
        {
            "kind": "expiring_credential",
            "severity": "warning",
            "agentId": str(agent_id),
            "agentName": "reader",
            "window": {"from": "2026-03-22T13:00:00.000000Z", "to": "2026-04-21T13:00:00.000000Z"},
            "observed": {"value": 6, "unit": "days left"},
            "expected": {
                "value": 30,
                "unit": "days left",
                "baseline": "the days before its end in which a credential is to be replaced",
            },
            "agents": [],
            "agentCount": 1,
            "credentialId": str(credential_id),
            "alsoSeenAs": [],
            "summary": 'The credential "production" of reader ends in 6 days, at 13:00 UTC on Tuesday, 21 April 2026. '
            "It was last used at 12:00 UTC on Tuesday, 14 April 2026.",
            "causes": "It was created to end then. From then on each request with it is refused, and what uses it "
            "stops working.",
            "next": "Create another credential of the agent, and give it to whatever uses this one. Revoke this one "
            "when it is no longer used.",
        }
    ]


def test_is_critical_on_the_last_day_and_says_how_many_hours_are_left(fleet: Fleet, clock: Clock) -> None:
    _, credential_id = expiring(fleet, label=None)
    clock.now = NOON + timedelta(days=5, hours=1)
    [found] = fleet.findings("expiring_credential")
    assert (found["severity"], found["observed"]["value"]) == ("critical", 1)
    clock.now = NOON + timedelta(days=6, minutes=30)
    [found] = fleet.findings("expiring_credential")
    assert found["summary"].startswith(f"The credential {credential_id} of reader ends in less than an hour, at 13:00")
    assert found["summary"].endswith(
        "It has never been used since it was created, at 12:00 UTC on Monday, 5 January 2026."
    )
    clock.now -= timedelta(hours=2)
    assert " ends in 2 hours, at 13:00" in fleet.findings("expiring_credential")[0]["summary"]


def test_says_that_it_has_ended_for_a_day(fleet: Fleet, clock: Clock) -> None:
    expiring(fleet, used_at=NOON - DAY)
    ends = NOON + timedelta(days=6, hours=1)
    clock.now = ends
    [found] = fleet.findings("expiring_credential")
    assert (found["severity"], found["observed"]["value"]) == ("critical", 0)
    assert found["summary"].startswith(
        'The credential "production" of reader ended at 13:00 UTC on Tuesday, 21 April 2026.'
    )
    assert "Each request with it is refused, and" in found["causes"]
    clock.now = ends + DAY - SECOND
    assert len(fleet.findings("expiring_credential")) == 1
    clock.now = ends + DAY
    assert fleet.findings("expiring_credential") == []


def test_is_only_listed_if_the_agent_has_moved_to_a_credential_that_ends_later(fleet: Fleet, clock: Clock) -> None:
    agent_id, credential_id = expiring(fleet, used_at=NOON - 3 * DAY)
    fleet.credential(agent_id, NOON - 4 * DAY, expires_at=NOON + 5 * DAY, used_at=NOON)
    by_id = {one["credentialId"]: one for one in fleet.findings("expiring_credential")}
    # The other one ends sooner.
    assert by_id[str(credential_id)]["severity"] == "warning"
    other_id = fleet.credential(agent_id, NOON - 4 * DAY, used_at=NOON - DAY)
    by_id = {one["credentialId"]: one for one in fleet.findings("expiring_credential")}
    moved = by_id[str(credential_id)]
    assert (moved["severity"], moved["next"]) == ("info", "Check that nothing uses it any more, and revoke it.")
    assert moved["causes"] == (
        "Its agent has another credential that ends later, which was last used at 12:00 UTC on Tuesday, 14 April 2026: "
        "it seems to have moved to that one."
    )
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        end_credential(opened, agent_id, other_id)
    by_id = {one["credentialId"]: one for one in fleet.findings("expiring_credential")}
    assert by_id[str(credential_id)]["severity"] == "warning"


def test_nothing_is_said_of_one_that_is_revoked_or_that_its_agent_cannot_use(fleet: Fleet) -> None:
    ends = NOON + 3 * DAY
    ids = [fleet.agent(name) for name in ("revoked", "suspended", "deleted")]
    credentials = [fleet.credential(agent_id, NOON - 100 * DAY, expires_at=ends) for agent_id in ids]
    assert len(fleet.findings("expiring_credential")) == 3
    with database_of(fleet.services, fleet.organization_id).transaction() as opened:
        end_credential(opened, ids[0], credentials[0])
        update_agent(opened, ids[1], {"status": "suspended"})
        remove_agent(opened, ids[2])
    assert fleet.findings("expiring_credential") == []


def test_nothing_is_said_of_another_organizations(fleet: Fleet, outsiders: Fleet) -> None:
    expiring(outsiders)
    assert outsiders.findings("expiring_credential")
    assert fleet.findings("expiring_credential") == []


def test_names_those_that_end_first(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_EXPIRING_CREDENTIALS > 1
    monkeypatch.setattr("agentidp.findings.thresholds.MAX_EXPIRING_CREDENTIALS", 1)
    agent_id, credential_id = expiring(fleet)
    fleet.credential(agent_id, NOON - 100 * DAY, expires_at=NOON + 7 * DAY)
    assert [one["credentialId"] for one in fleet.findings("expiring_credential")] == [str(credential_id)]
