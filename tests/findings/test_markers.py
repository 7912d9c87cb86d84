"""Deployments, holidays and changes of agents, which findings take into account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.markers import build_call, explain_by_markers
from agentidp.http.schemas import timestamp
from agentidp.registry.agents import end_tokens
from tests.factories import NOON, Clock, a_finding
from tests.findings.conftest import Fleet, Lists, build_query

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONDAY = datetime(2026, 4, 13, tzinfo=UTC)
HOLIDAY = datetime(2026, 3, 25, tzinfo=UTC)
AGENT, OTHER = UUID(int=1), UUID(int=2)
AFTER = thresholds.AFTER_DEPLOYMENT


def marker(kind: str, begins: datetime, ends: datetime, agent_id: UUID | None = None, note: str | None = None) -> Any:
    """A row of the statement."""
    return SimpleNamespace(kind=kind, starts_at=begins, ends_at=ends, agent_id=agent_id, note=note)


def deployment(at: datetime = NOON, agent_id: UUID | None = AGENT, kind: str = "deployment") -> Any:
    """A deployment at an instant."""
    return marker(kind, at, at, agent_id, "release 7")


def holiday(begins: datetime, ends: datetime | None = None) -> Any:
    """A day, or another time."""
    return marker("holiday", begins, ends or begins + DAY)


SPIKE = a_finding(NOON + HOUR, agent_id=AGENT, observed=300, expected=100, causes="It has more to do.")
"""A spike of an agent, which began at noon."""


@pytest.mark.parametrize(
    ("noticed", "is_mentioned"),
    [
        (deployment(NOON - AFTER), True),
        (deployment(NOON - AFTER - HOUR / 60), False),
        (deployment(NOON + HOUR - timedelta(seconds=1)), True),
        (deployment(NOON + HOUR), False),
        (deployment(agent_id=None), True),
        (deployment(agent_id=OTHER), False),
        (marker("deployment", NOON - DAY, NOON), True),
        (marker("holiday", NOON - HOUR, NOON + HOUR), False),
        (deployment(kind="credential.created"), True),
        (deployment(kind="agent.changed"), True),
    ],
)
def test_a_marker_of_the_agent_shortly_before_is_mentioned(noticed: Any, is_mentioned: bool) -> None:
    reported = explain_by_markers(SPIKE, [noticed])
    assert (reported.causes != SPIKE.causes) is is_mentioned
    assert (reported.severity is Severity.info) is (is_mentioned and noticed.kind == "deployment")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Severity.info),
        # More than three times what is expected is no deployment.
        ({"observed": 301}, Severity.warning),
        ({"severity": Severity.critical}, Severity.critical),
        ({"kind": "silence"}, Severity.warning),
    ],
)
def test_a_spike_after_a_deployment_is_only_listed(changes: dict[str, Any], expected: Severity) -> None:
    reported = explain_by_markers(
        a_finding(**({"at": NOON + HOUR} | vars(SPIKE) | changes)), [deployment(NOON - HOUR / 3)]
    )
    assert reported.severity is expected
    assert reported.causes == (
        "It has more to do. A deployment was marked at 11:40 UTC on Wednesday, 15 April 2026: release 7."
    )


def test_a_change_explains_no_weekend() -> None:
    weekend = a_finding(NOON, kind="weekend", agent_id=AGENT)
    assert explain_by_markers(weekend, [deployment()]) == weekend


@pytest.mark.parametrize("later", ["credential.created", "agent.changed"])
def test_the_latest_deployment_explains_more_than_what_it_changes_on_the_way(later: str) -> None:
    markers = [deployment(NOON - HOUR), deployment(NOON - HOUR / 2), deployment(NOON - HOUR / 4, kind=later)]
    reported = explain_by_markers(SPIKE, markers)
    assert reported.severity is Severity.info
    assert "A deployment was marked at 11:30" in reported.causes


def kinds(lists: Lists, *kind_names: str, now: datetime = NOON) -> list[tuple[str, int | None, str]]:
    """Return the kind, the number of agents and the beginning of each finding."""
    return [
        (reported.kind, reported.agent_count, f"{reported.begins:%m-%dT%H:%M}")
        for reported in lists.findings(*kind_names, now=now)
    ]


def test_work_on_a_holiday_is_no_weekend_run(lists: Lists) -> None:
    agent, saturday = lists.agent("clerk"), MONDAY - 2 * DAY
    lists.work(agent, NOON - 70 * DAY, NOON, lambda at: 5 * (at.weekday() < 5 and 8 <= at.hour < 18))
    lists.work(agent, saturday + 9 * HOUR, saturday + 15 * HOUR, lambda at: thresholds.MIN_WEEKEND_TOKENS)
    assert len(lists.findings("weekend")) == 1
    lists.markers = [holiday(saturday)]
    assert lists.findings("weekend") == []


def stops_and_returns(lists: Lists, agents: int, stops: datetime, returns: datetime, working: int = 0) -> None:
    """Add *agents* that work around the clock except for a time, and *working* agents that never stop."""
    for number in range(agents + working):
        agent = lists.agent(f"worker-{number}")
        lists.work(agent, HOLIDAY - 40 * DAY, stops if number < agents else returns, lambda at: 3)
        lists.work(agent, returns, HOLIDAY + 4 * DAY, lambda at: 3)


NEVER = HOLIDAY + 4 * DAY


@pytest.mark.parametrize(
    ("stops", "returns", "working", "begins"),
    [
        # Five of six agents do not come back. What began within the holiday is an outage after it.
        (-2, NEVER, 1, {3: "03-24T22:00", 24: "03-24T22:00", 61: "03-24T22:00"}),
        (0, NEVER, 1, {1.5: None, 3: "03-26T00:00", 61: "03-26T00:00"}),
        # All come back, some time after the holiday, or at its end.
        (-2, HOLIDAY + DAY + 3 * HOUR, 0, {24: "03-24T22:00"}),
        (0, HOLIDAY + DAY, 0, {-23.5: None, -12: None, 1.5: None, 24: None}),
        # Part of a fleet.
        (0, NEVER, 7, {0.5: None, 4: "03-25T00:00", 30: "03-25T00:00"}),
        (0, HOLIDAY + DAY, 7, {-16: None, 0.5: None, 6.5: None}),
    ],
)
def test_what_does_not_come_back_after_a_holiday_is_silent(
    lists: Lists, stops: int, returns: datetime, working: int, begins: dict[float, str | None]
) -> None:
    """*begins* has since when it is silent, by the hours after the holiday at which one looks."""
    stops_and_returns(lists, 5, HOLIDAY + stops * HOUR, returns, working)
    lists.markers = [holiday(HOLIDAY)]
    computed = {hours: kinds(lists, "silence", now=HOLIDAY + DAY + hours * HOUR) for hours in begins}
    agents = 5 if working else 0
    assert computed == {hours: [("silence", agents, since)] if since else [] for hours, since in begins.items()}


def test_without_the_marker_an_organization_that_rests_is_silent(lists: Lists) -> None:
    stops_and_returns(lists, 5, HOLIDAY, HOLIDAY + DAY, working=7)
    assert kinds(lists, "silence", now=HOLIDAY + 2 * DAY) == [("silence", 5, "03-25T00:00")]


def test_the_hours_of_a_holiday_count_for_no_agents_silence(lists: Lists) -> None:
    lists.work(lists.agent("machine"), NOON - 70 * DAY, NOON - 12 * HOUR, lambda at: 3)
    assert len(lists.findings("silence")) == 1
    lists.markers = [holiday(NOON - 12 * HOUR, NOON)]
    assert lists.findings("silence") == []
    assert len(lists.findings("silence", now=NOON + 6 * HOUR)) == 1


def mark(fleet: Fleet, kind: str, starts_at: datetime, ends_at: datetime | None = None) -> None:
    """Mark something by the API."""
    marker = {"kind": kind, "startsAt": timestamp(starts_at), "endsAt": timestamp(ends_at), "note": "release 7"}
    assert fleet.api.post("markers", marker).status_code == 201


def test_reads_what_was_marked_and_what_the_trail_says(fleet: Fleet, clock: Clock) -> None:
    clock.now = NOON - 40 * DAY
    agent = fleet.agent("looper")
    query = build_query()

    def read() -> list[tuple[str, datetime, UUID | None]]:
        [rows] = fleet.database.run(build_call(query))
        return [(row.kind, row.starts_at, row.agent_id) for row in rows if row.agent_id in (None, agent)]

    assert read() == []
    since = NOON - (7 * thresholds.MAX_SILENCE_WEEKS + 1) * DAY
    mark(fleet, "holiday", since - DAY, since)
    mark(fleet, "holiday", since - DAY, since - timedelta(seconds=1))
    clock.now = NOON
    mark(fleet, "deployment", NOON)
    mark(fleet, "holiday", NOON + HOUR, NOON + DAY)
    assert read() == [("holiday", since - DAY, None), ("deployment", NOON, None)]
    clock.now = NOON - HOUR
    fleet.api.post(f"agents/{agent}/credentials")
    clock.now = NOON - HOUR / 2
    for change in ({"scopes": ["analytics:read"]}, {"description": "new"}):
        fleet.api.patch(f"agents/{agent}", change)
    clock.now = NOON - HOUR / 4
    with fleet.database.transaction() as transaction:
        end_tokens(transaction, agent, clock)
    assert read()[1:] == [
        ("credential.created", NOON - HOUR, agent),
        ("agent.changed", NOON - HOUR / 2, agent),
        ("agent.tokens_ended", NOON - HOUR / 4, agent),
        ("deployment", NOON, None),
    ]


def test_nobody_hides_what_the_trail_says_by_failing_to_sign_in(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "MAX_AUDIT_EVENTS", 3)
    # With a credential.
    agent = fleet.agent("looper")
    for _ in range(4):
        wrong = {"client_id": str(agent), "client_secret": "wrong"}
        assert fleet.api.client.post("/dashboard/sign-in", data=wrong).status_code == 401
    assert fleet.api.last_event()["action"] == "agent.sign_in_refused"
    [rows] = fleet.database.run(build_call(build_query()))
    assert [(row.kind, row.agent_id) for row in rows if row.agent_id == agent] == [("credential.created", agent)]


def test_what_was_marked_is_named_in_a_finding(fleet: Fleet) -> None:
    agent = fleet.agent("looper")
    fleet.work(agent, NOON - 30 * DAY, NOON, lambda at: 20)
    fleet.work(agent, NOON - 2 * HOUR, NOON, lambda at: 2000)
    fleet.store()
    mark(fleet, "deployment", NOON - 3 * HOUR)
    [reported] = fleet.findings("spike")
    assert reported["causes"].endswith(
        "without a pause. A deployment was marked at 09:00 UTC on Wednesday, 15 April 2026: release 7."
    )
