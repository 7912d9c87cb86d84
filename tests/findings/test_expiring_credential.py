"""``expiring_credential``: a credential that ends soon, and the reminders before its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings.expiring_credential import findings, has_moved, reminders_due
from agentidp.findings.thresholds import EXPIRY_REMINDERS, MOVED_AFTER
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.registry.credentials import end_credential
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet, amounts, asked, body, window

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ENDS = NOON + 400 * DAY


@pytest.mark.parametrize("place", range(len(EXPIRY_REMINDERS)))
def test_a_reminder_is_due_from_so_many_days_before_the_end_on(place: int) -> None:
    days = EXPIRY_REMINDERS[place]
    assert reminders_due(NOON, ENDS, ENDS - days * DAY) == [*EXPIRY_REMINDERS[: place + 1]]
    assert reminders_due(NOON, ENDS, ENDS - days * DAY - SECOND) == [*EXPIRY_REMINDERS[:place]]


@pytest.mark.parametrize(("lifetime", "due"), [(10, [7, 1]), (7, [1]), (1, []), (0.5, [])])
def test_reminders_from_before_the_credential_was_created_are_left_out(lifetime: float, due: list[int]) -> None:
    ends = NOON + lifetime * DAY
    assert reminders_due(NOON, ends, ends) == due


@pytest.mark.parametrize(
    ("last_used_at", "moved_at", "expected"),
    [
        (NOON, None, False),
        (None, NOON, True),
        (NOON, NOON + MOVED_AFTER, True),
        (NOON, NOON + MOVED_AFTER - SECOND, False),
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
        body(
            "expiring_credential",
            "warning",
            (agent_id, "reader"),
            window=window("2026-03-22T13:00", "2026-04-21T13:00"),
            **amounts(6, 30, "days left", "the days before its end in which a credential is to be replaced"),
            credentialId=str(credential_id),
            summary='The credential "production" of reader ends in 6 days, at 13:00 UTC on Tuesday, 21 April 2026. It '
            "was last used at 12:00 UTC on Tuesday, 14 April 2026.",
            causes="It was created to end then. From then on each request with it is refused, and what uses it stops "
            "working.",
            next="Create another credential of the agent, and give it to whatever uses this one. Revoke this one when "
            "it is no longer used.",
        )
    ]


def a_row(**changes: Any) -> Any:
    """A row of the statement: a credential that was created a hundred days ago and ends now."""
    values = {
        "agent_id": UUID(int=1),
        "agent_name": "reader",
        "credential_id": UUID(int=2),
        "label": None,
        "created_at": NOON - 100 * DAY,
        "expires_at": NOON,
        "last_used_at": None,
        "moved_at": None,
    }
    return SimpleNamespace(**(values | changes))


@pytest.mark.parametrize(
    ("left", "severity", "observed", "ends"),
    [
        (DAY + SECOND, "warning", 1, "ends in 1 day, at 12:00"),
        (DAY, "critical", 1, "ends in 1 day, at 12:00"),
        (timedelta(hours=1), "critical", 0, "ends in 1 hour, at 12:00"),
        (timedelta(hours=1) - SECOND, "critical", 0, "ends in less than an hour, at 12:00"),
        (0 * DAY, "critical", 0, "ended at 12:00"),
    ],
)
def test_says_how_much_is_left(left: timedelta, severity: str, observed: float, ends: str) -> None:
    [one] = findings([a_row()], asked(NOON - left))
    assert (one.severity.name, round(one.observed)) == (severity, observed)
    assert one.summary == (
        f"The credential {UUID(int=2)} of reader {ends} UTC on Wednesday, 15 April 2026. It has never been used since "
        "it was created, at 12:00 UTC on Monday, 5 January 2026."
    )
    assert one.causes.startswith(
        "It was created to end then. " + ("Each" if left <= 0 * DAY else "From then on each") + " request with it"
    )


def test_has_ended_for_a_day(fleet: Fleet, clock: Clock) -> None:
    expiring(fleet)
    ends = NOON + timedelta(days=6, hours=1)
    for at, number in ((ends - 30 * DAY - SECOND, 0), (ends - 30 * DAY, 1), (ends + DAY - SECOND, 1), (ends + DAY, 0)):
        clock.now = at
        assert len(fleet.findings("expiring_credential")) == number


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


def test_names_those_that_end_first(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentidp.findings.thresholds.MAX_EXPIRING_CREDENTIALS", 1)
    agent_id, credential_id = expiring(fleet)
    fleet.credential(agent_id, NOON - 100 * DAY, expires_at=NOON + 7 * DAY)
    assert [one["credentialId"] for one in fleet.findings("expiring_credential")] == [str(credential_id)]
