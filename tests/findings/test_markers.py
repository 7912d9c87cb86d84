"""Deployments, holidays and changes of agents, which findings take into account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.markers import explained
from agentidp.http.schemas import timestamp
from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONDAY = datetime(2026, 4, 13, tzinfo=UTC)
AGENT, OTHER = UUID(int=1), UUID(int=2)
DEPLOYED = "A deployment was marked"


def spike(observed: float = 300, severity: Severity = Severity.warning, kind: str = "spike") -> Finding:
    """A spike of an agent that began at noon; typically it is 100."""
    return Finding(
        kind=kind,
        severity=severity,
        agent_id=AGENT,
        agent_name="builder",
        begins=NOON,
        ends=NOON + HOUR,
        unit="tokens",
        observed=observed,
        expected=100,
        baseline="",
        summary="",
        causes="It has more to do.",
        next_step="",
    )


def marker(kind: str, begins: datetime, ends: datetime, agent_id: UUID | None, note: str | None) -> Any:
    """A row of the statement."""
    return SimpleNamespace(kind=kind, starts_at=begins, ends_at=ends, agent_id=agent_id, note=note)


def deployment(at: datetime = NOON, agent_id: UUID | None = AGENT, kind: str = "deployment") -> Any:
    """A deployment at an instant."""
    return marker(kind, at, at, agent_id, "release 7")


def test_a_spike_after_a_deployment_says_so_and_is_only_listed() -> None:
    one = explained(spike(), [deployment(NOON - 20 * HOUR / 60)])
    assert one.severity is Severity.info
    assert one.causes == f"It has more to do. {DEPLOYED} at 11:40 UTC on Wednesday, 15 April 2026: release 7."


@pytest.mark.parametrize(
    ("observed", "severity", "expected"),
    [
        (300, Severity.warning, Severity.info),
        (301, Severity.warning, Severity.warning),
        (300, Severity.critical, Severity.critical),
    ],
)
def test_more_than_three_times_is_no_deployment(observed: float, severity: Severity, expected: Severity) -> None:
    assert explained(spike(observed, severity), [deployment()]).severity is expected


@pytest.mark.parametrize(
    ("noticed", "is_mentioned"),
    [
        (deployment(NOON - thresholds.AFTER_DEPLOYMENT), True),
        (deployment(NOON - thresholds.AFTER_DEPLOYMENT - HOUR / 60), False),
        (deployment(NOON + HOUR - timedelta(seconds=1)), True),
        (deployment(NOON + HOUR), False),
        (deployment(agent_id=None), True),
        (deployment(agent_id=OTHER), False),
        (marker("deployment", NOON - DAY, NOON, None, None), True),
        (marker("holiday", NOON - HOUR, NOON + HOUR, None, None), False),
        (deployment(kind="credential.created"), True),
        (deployment(kind="agent.changed"), True),
    ],
)
def test_a_marker_of_the_agent_shortly_before_is_mentioned(noticed: Any, is_mentioned: bool) -> None:
    one = explained(spike(), [noticed])
    assert (one.causes != "It has more to do.") is is_mentioned
    assert (one.severity is Severity.info) is (is_mentioned and noticed.kind == "deployment")


@pytest.mark.parametrize("later", ["credential.created", "agent.changed"])
def test_a_deployment_explains_more_than_what_it_changes_on_the_way(later: str) -> None:
    one = explained(spike(200), [deployment(NOON - HOUR), deployment(NOON - HOUR / 2, kind=later)])
    assert one.severity is Severity.info
    assert one.causes == f"It has more to do. {DEPLOYED} at 11:00 UTC on Wednesday, 15 April 2026: release 7."


def test_of_several_deployments_the_latest_is_named() -> None:
    one = explained(spike(200), [deployment(NOON - HOUR), deployment(NOON - HOUR / 2)])
    assert one.causes.endswith(f"{DEPLOYED} at 11:30 UTC on Wednesday, 15 April 2026: release 7.")


def test_no_other_kind_is_only_listed() -> None:
    one = explained(spike(kind="silence"), [deployment()])
    assert (one.severity, "release 7" in one.causes) == (Severity.warning, True)
    assert explained(spike(kind="weekend"), [deployment()]) == spike(kind="weekend")


def mark(fleet: Fleet, kind: str, starts_at: datetime, ends_at: datetime | None = None) -> None:
    """Mark something."""
    body = {"kind": kind, "startsAt": timestamp(starts_at), "endsAt": timestamp(ends_at), "note": "release 7"}
    assert fleet.client.post("/api/v1/markers", json=body, headers=fleet.reader.bearer()).status_code == 201


def test_no_holiday_is_a_zero_day(fleet: Fleet) -> None:
    agent = fleet.agent("worker")
    for days in range(1, 70):
        if days not in (2, 4):
            fleet.count(agent, NOON - days * DAY, 100)
    fleet.store()
    assert len(fleet.findings("zero_day")) == 2
    mark(fleet, "holiday", MONDAY)
    assert [one["window"]["from"][:10] for one in fleet.findings("zero_day")] == ["2026-04-11"]


def test_work_on_a_holiday_is_no_weekend_run(fleet: Fleet) -> None:
    agent, saturday = fleet.agent("clerk"), MONDAY - 2 * DAY
    fleet.work(agent, NOON - 70 * DAY, NOON, lambda at: 5 * (at.weekday() < 5 and 8 <= at.hour < 18))
    fleet.work(agent, saturday + 9 * HOUR, saturday + 15 * HOUR, lambda at: thresholds.MIN_WEEKEND_TOKENS)
    fleet.store()
    assert len(fleet.findings("weekend")) == 1
    mark(fleet, "holiday", saturday)
    assert fleet.findings("weekend") == []


def test_an_organization_that_rests_on_a_holiday_is_not_silent(fleet: Fleet) -> None:
    for number in range(5):
        agent = fleet.agent(f"worker-{number}")
        fleet.work(agent, NOON - 70 * DAY, NOON, lambda at: 3 * (not MONDAY + 9 * HOUR <= at < MONDAY + 20 * HOUR))
    fleet.store()
    assert [one["agentId"] for one in fleet.findings("silence")] == [None]
    mark(fleet, "holiday", MONDAY)
    assert fleet.findings("silence") == []


HOLIDAY = datetime(2026, 3, 25, tzinfo=UTC)


def silences(fleet: Fleet) -> list[tuple[bool, int, str]]:
    """Whether each is about one agent, how many stopped, and since when."""
    found = fleet.findings("silence")
    return [(one["agentId"] is not None, one["agentCount"], one["window"]["from"][5:16]) for one in found]


@pytest.mark.parametrize(
    ("stops", "begins"),
    [
        (HOLIDAY - 2 * HOUR, "03-24T22:00"),
        (HOLIDAY, "03-26T00:00"),
        (HOLIDAY + 23 * HOUR, "03-26T00:00"),
    ],
)
def test_an_outage_that_lasts_beyond_a_holiday_is_reported(
    fleet: Fleet, clock: Clock, stops: datetime, begins: str
) -> None:
    for number in range(6):
        agent = fleet.agent(f"worker-{number}")
        fleet.work(agent, HOLIDAY - 40 * DAY, stops if number else HOLIDAY + 4 * DAY, lambda at: 3)
    fleet.store()
    clock.now = HOLIDAY - 3 * DAY
    mark(fleet, "holiday", HOLIDAY)
    # An hour without most of six agents is no evidence yet.
    clock.now = HOLIDAY + DAY + 1.5 * HOUR
    assert silences(fleet) == [(False, 5, begins)] * (stops < HOLIDAY)
    for hours in (3, 21, 24, 61):
        clock.now = HOLIDAY + DAY + hours * HOUR
        assert silences(fleet) == [(False, 5, begins)]


def test_an_outage_around_a_holiday_is_reported_after_it_has_ended(fleet: Fleet, clock: Clock) -> None:
    quiet = HOLIDAY - 2 * HOUR, HOLIDAY + DAY + 3 * HOUR
    for number in range(5):
        agent = fleet.agent(f"worker-{number}")
        fleet.work(agent, HOLIDAY - 40 * DAY, HOLIDAY + 4 * DAY, lambda at: 3 * (not quiet[0] <= at < quiet[1]))
    fleet.store()
    clock.now = HOLIDAY + 2 * DAY
    mark(fleet, "holiday", HOLIDAY)
    [one] = fleet.findings("silence")
    assert one["window"] == {"from": "2026-03-24T22:00:00.000000Z", "to": "2026-03-26T03:00:00.000000Z"}


@pytest.mark.parametrize("hours", [1, 12, 25])
def test_a_fleet_that_resumes_after_a_holiday_is_not_silent(fleet: Fleet, clock: Clock, hours: int) -> None:
    for number in range(5):
        agent = fleet.agent(f"worker-{number}")
        fleet.work(agent, HOLIDAY - 40 * DAY, HOLIDAY + 4 * DAY, lambda at: 3 * (at.date() != HOLIDAY.date()))
    fleet.store()
    clock.now = HOLIDAY + hours * HOUR + HOUR / 2
    mark(fleet, "holiday", HOLIDAY)
    assert silences(fleet) == []
    clock.now = HOLIDAY + 2 * DAY
    assert silences(fleet) == []


@pytest.mark.parametrize("stops", [HOLIDAY, HOLIDAY + 22 * HOUR])
def test_part_of_a_fleet_that_stays_quiet_after_a_holiday_is_reported(
    fleet: Fleet, clock: Clock, stops: datetime
) -> None:
    for number in range(12):
        agent = fleet.agent(f"worker-{number}")
        ends = stops if number < 5 else HOLIDAY + 4 * DAY
        fleet.work(agent, HOLIDAY - 40 * DAY, ends, lambda at: 3)
    fleet.store()
    clock.now = HOLIDAY + DAY + HOUR / 2
    mark(fleet, "holiday", HOLIDAY)
    assert silences(fleet) == []
    for hours in (4, 30):
        clock.now = HOLIDAY + DAY + hours * HOUR
        assert silences(fleet) == [(False, 5, f"{stops:%m-%dT%H:%M}")]


def test_part_of_a_fleet_that_rests_on_a_holiday_is_not_silent(fleet: Fleet, clock: Clock) -> None:
    for number in range(12):
        agent = fleet.agent(f"worker-{number}")
        fleet.work(agent, HOLIDAY - 40 * DAY, HOLIDAY, lambda at: 3)
        fleet.work(agent, HOLIDAY + DAY if number < 5 else HOLIDAY, HOLIDAY + 4 * DAY, lambda at: 3)
    fleet.store()
    clock.now = HOLIDAY + 2 * DAY
    assert silences(fleet) == [(False, 5, "03-25T00:00")]
    mark(fleet, "holiday", HOLIDAY)
    for hours in (8, 24, 25, 30):
        clock.now = HOLIDAY + hours * HOUR + HOUR / 2
        assert silences(fleet) == []


def test_the_hours_of_a_holiday_count_for_no_agents_silence(fleet: Fleet, clock: Clock) -> None:
    agent = fleet.agent("machine")
    fleet.work(agent, NOON - 70 * DAY, NOON - 12 * HOUR, lambda at: 3)
    fleet.store()
    assert [one["agentName"] for one in fleet.findings("silence")] == ["machine"]
    mark(fleet, "holiday", NOON - 12 * HOUR, NOON)
    assert fleet.findings("silence") == []
    clock.now = NOON + 6 * HOUR
    assert [one["agentName"] for one in fleet.findings("silence")] == ["machine"]


def test_what_was_marked_and_what_the_trail_knows_is_named_in_a_finding(fleet: Fleet, client: FlaskClient) -> None:
    agent = fleet.agent("looper")
    fleet.work(agent, NOON - 70 * DAY, NOON, lambda at: 20)
    fleet.work(agent, NOON - 2 * HOUR, NOON, lambda at: 2000)
    fleet.store()
    [before] = fleet.findings("spike")
    mark(fleet, "deployment", NOON - 3 * HOUR)
    [one] = fleet.findings("spike")
    marked = f"{DEPLOYED} at 09:00 UTC on Wednesday, 15 April 2026: release 7."
    assert one["causes"] == f"{before['causes']} {marked}"
    assert one["severity"] == before["severity"] == "critical"


@pytest.mark.parametrize("change", ["credential", "scopes", "description"])
def test_a_new_credential_and_changed_scopes_mark_themselves(
    fleet: Fleet, client: FlaskClient, clock: Clock, change: str
) -> None:
    clock.now = NOON - 70 * DAY
    agent = fleet.agent("looper")
    clock.now = NOON
    fleet.work(agent, NOON - 70 * DAY, NOON, lambda at: 20)
    fleet.work(agent, NOON, NOON + HOUR, lambda at: 2000)
    fleet.store()
    headers = fleet.reader.bearer()
    if change == "credential":
        client.post(f"/api/v1/agents/{agent}/credentials", headers=headers)
    else:
        body = {"scopes": ["analytics:read"]} if change == "scopes" else {"description": "new"}
        client.patch(f"/api/v1/agents/{agent}", json=body, headers=headers)
    [one] = fleet.findings("spike")
    happened = {"credential": "A credential of it was created", "scopes": "Its scopes were changed"}
    said = f"{happened[change]} at 12:00 UTC on Wednesday, 15 April 2026." if change in happened else "without a pause."
    assert one["causes"].endswith(f" {said}")
