"""bench/findings: its fleets can be made again, are counted once, and findings are scored as its docstring says."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import psycopg
import pytest

from agentidp.db.database import connect
from bench.findings.fleets import EVALUATED, HOURS, Event, Fleet, Usage, make_fleet
from bench.findings.replay import CountedFleet
from bench.findings.scoring import ReportedFinding, Score, reported

pytestmark = pytest.mark.very_slow


def usage_of(fleet: Fleet, hours: Iterable[int] = range(HOURS)) -> list[tuple[str, int, tuple[Usage, Usage]]]:
    """Return the usage of a fleet in some hours."""
    usage = [(agent.name, hour, agent.usage[hour]) for agent in fleet.agents for hour in hours]
    return [(name, hour, halves) for name, hour, halves in usage if any(map(any, halves))]


def test_the_same_seed_makes_the_same_fleet_and_another_seed_another() -> None:
    fleet, again, other = make_fleet("a"), make_fleet("a"), make_fleet("b")
    assert (fleet.organization_id, fleet.start) == (again.organization_id, again.start)
    assert usage_of(fleet) == usage_of(again) != usage_of(other)
    faults, same_faults = ([(fault.kind, fault.begins, fault.size) for fault in of.faults] for of in (fleet, again))
    assert faults == same_faults
    assert fleet.organization_id != other.organization_id


def planted() -> tuple[Fleet, Event]:
    """Return a fleet whose only fault is a retry loop of the first agent."""
    fleet = make_fleet("outage 55")
    fault = Event("retry loop", [fleet.agents[0]], EVALUATED + 10.25, EVALUATED + 12)
    fleet.faults[:] = [fault]
    return fleet, fault


def finding(fleet: Fleet, kind: str, agent_id: UUID | None, hour: float, hours: float = 1) -> ReportedFinding:
    """Return a finding whose window has *hours* from *hour* of the evaluated span on, seen at the window's end."""
    begins, ends = fleet.at(EVALUATED + hour), fleet.at(EVALUATED + hour + hours)
    return ReportedFinding(kind, agent_id, begins, ends, {agent_id} if agent_id else set(), "", ends)


def test_a_finding_is_true_where_its_kind_its_agent_and_its_time_are_those_of_a_fault() -> None:
    fleet, fault = planted()
    culprit, another = fleet.agents[0].agent_id, fleet.agents[1].agent_id
    score = Score(fleet)
    score.add(
        [
            finding(fleet, "spike", culprit, 11),
            finding(fleet, "spike", culprit, 36),  # a day later
            finding(fleet, "spike", another, 11),
            finding(fleet, "rejections", culprit, 11),
            finding(fleet, "spike", None, 11),  # of the organization, which names no agent
            finding(fleet, "dominance", another, 11),  # not judged
            finding(fleet, "spike", another, -30),  # before the evaluated span
        ]
    )
    assert [is_true for _, is_true in score.judged()] == [True, False, False, False, True]
    assert score.detected_at == {fault: fleet.at(EVALUATED + 12)}


def test_a_finding_that_is_reported_again_is_one_and_keeps_its_first_instant() -> None:
    fleet, fault = planted()
    culprit = fleet.agents[0].agent_id
    score = Score(fleet)
    score.add([finding(fleet, "spike", culprit, 9)])  # ends before the fault begins
    assert [is_true for _, is_true in score.judged()] == [False]
    score.add([finding(fleet, "spike", culprit, 9, 2)])
    score.add([finding(fleet, "spike", culprit, 9, 4)])
    assert [is_true for _, is_true in score.judged()] == [True]
    assert score.detected_at == {fault: fleet.at(EVALUATED + 11)}


def test_a_fault_that_is_reported_more_than_two_days_after_its_end_was_missed() -> None:
    fleet, fault = planted()
    culprit = fleet.agents[0].agent_id
    for hours_late, is_detected in ((48, True), (48.1, False)):
        score = Score(fleet)
        late = finding(fleet, "spike", culprit, 10, 1)
        late.seen_at = fleet.at(fault.ends + hours_late)
        score.add([late])
        assert (fault in score.detected_at) is is_detected


def test_a_fleet_is_counted_once_and_its_fault_is_detected(database_url: str) -> None:
    fleet = make_fleet("counted once")
    leaver, looping = (agent for agent in fleet.agents[:2])
    leaver.leaves, leaver.leaves_by = EVALUATED + 5, "deleted"
    fault = Event("retry loop", [looping], EVALUATED + 10, EVALUATED + 12, size=5000)
    fleet.faults[:] = [fault]
    for agent in fleet.agents:
        agent.joins = 0
    for hour in fault.hours():
        looping.usage[hour] = Usage(2500, 2500), Usage(2500, 2500)
    score = Score(fleet)
    with connect(database_url) as connection:
        counted = CountedFleet(fleet, connection)
        for halves in (2 * EVALUATED + 21, 2 * EVALUATED + 22, 2 * EVALUATED + 24):
            score.add(reported(*counted.evaluate(halves)))
    assert score.detected_at == {fault: fleet.at(EVALUATED + 10.5) - (fleet.at(1) - fleet.at(0)) / 3600}
    tokens = sum(half.tokens for agent in fleet.agents for hour in agent.usage[: EVALUATED + 12] for half in hour)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select sum(tokens) from usage_daily union all"
            " select count(*) from agents where deleted_at is not null and deleted_at = %s",
            [fleet.at(EVALUATED + 5)],
        ).fetchall()
    assert rows == [(tokens,), (1,)]
