"""bench/findings: its fleets can be made again, and it distinguishes a true finding from a false one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

from agentidp.db.citus import enter_organization
from agentidp.db.database import Database, connect
from agentidp.db.organization import Transaction
from agentidp.db.sql import Rows
from agentidp.findings.finding import Severity
from agentidp.registry.agents import remove_agent, update_agent
from agentidp.usage_history.adding import Hours, add_usage, hour_number
from bench.findings.__main__ import fleet_of
from bench.findings.fleets import EVALUATED, HOURS, Agent, Event, Fleet, Usage, make_fleet
from bench.findings.memory import NOT_JUDGED, InMemory, found
from bench.findings.scoring import ReportedFinding, Score
from bench.findings.series import HOURS as SERIES_HOURS
from bench.findings.series import JUDGED, Series, make_series
from bench.findings.series import judge as judge_series
from bench.findings.situations import SITUATIONS, add_situations
from tests.conftest import settings_for

pytestmark = pytest.mark.very_slow


def counted(fleet: Fleet, hours: Iterable[int] = range(HOURS)) -> list[tuple[str, int, tuple[Usage, Usage]]]:
    """All that is counted of a fleet in some hours."""
    everything = [(agent.name, hour, agent.usage[hour]) for agent in fleet.agents for hour in hours]
    return [(name, hour, halves) for name, hour, halves in everything if any(map(any, halves))]


def test_the_same_seed_makes_the_same_fleet_and_another_seed_another() -> None:
    fleet, again, other = fleets = make_fleet("a"), make_fleet("a"), make_fleet("b")
    for each in fleets:
        add_situations(each)
    assert (fleet.organization_id, fleet.start) == (again.organization_id, again.start)
    assert counted(fleet) == counted(again) != counted(other)
    happened, same, _ = ([(one.kind, one.begins, one.size) for one in each.faults + each.benign] for each in fleets)
    assert happened == same
    assert fleet.organization_id != other.organization_id


def planted() -> tuple[Fleet, Event]:
    """A fleet in which nothing goes wrong but a retry loop of the first agent."""
    fleet = make_fleet("outage 55")
    fault = Event("retry loop", [fleet.agents[0]], EVALUATED + 10.25, EVALUATED + 12)
    fleet.faults[:] = [fault]
    return fleet, fault


def reported(fleet: Fleet, kind: str, agent_id: UUID | None, hour: float, hours: float = 1) -> ReportedFinding:
    """A finding whose window has *hours* from *hour* of the evaluated span on, seen at its end."""
    begins, ends = fleet.at(EVALUATED + hour), fleet.at(EVALUATED + hour + hours)
    return ReportedFinding(kind, agent_id, begins, ends, {agent_id} if agent_id else set(), "", ends)


def test_a_finding_is_true_where_its_kind_its_agent_and_its_time_are_those_of_a_fault() -> None:
    fleet, fault = planted()
    culprit, another = fleet.agents[0].agent_id, fleet.agents[1].agent_id
    score = Score(fleet)
    score.see(
        [
            reported(fleet, "spike", culprit, 11),
            reported(fleet, "spike", culprit, 36),  # a day later
            reported(fleet, "spike", another, 11),
            reported(fleet, "rejections", culprit, 11),
            reported(fleet, "spike", None, 11),  # the organization's: whose it is, it does not say
            reported(fleet, "dominance", another, 11),  # not judged
            reported(fleet, "spike", another, -30),  # before the evaluated span
        ]
    )
    assert [verdict for _, verdict in score.judged()] == ["true", "false", "false", "false", "true"]
    assert score.reported_at == {fault: fleet.at(EVALUATED + 12)}


def test_a_finding_that_is_seen_again_is_one_and_says_when_it_was_first_seen() -> None:
    fleet, fault = planted()
    culprit = fleet.agents[0].agent_id
    score = Score(fleet)
    score.see([reported(fleet, "spike", culprit, 9)])  # it ended before the fault began
    assert [verdict for _, verdict in score.judged()] == ["false"]
    score.see([reported(fleet, "spike", culprit, 9, 2)])
    score.see([reported(fleet, "spike", culprit, 9, 4)])
    assert [verdict for _, verdict in score.judged()] == ["true"]
    assert score.reported_at == {fault: fleet.at(EVALUATED + 11)}


def test_a_fault_that_is_reported_more_than_two_days_after_its_end_was_missed() -> None:
    fleet, fault = planted()
    culprit = fleet.agents[0].agent_id
    for hours_late, is_reported in ((48, True), (48.1, False)):
        score = Score(fleet)
        late = reported(fleet, "spike", culprit, 10, 1)
        late.seen_at = fleet.at(fault.ends + hours_late)
        score.see([late])
        assert (fault in score.reported_at) is is_reported


def test_each_situation_is_counted_and_says_what_it_is() -> None:
    for situation in SITUATIONS:
        fleet = make_fleet("held-out 1503")
        fleet.faults.clear()
        before = {agent: [*agent.usage] for agent in fleet.agents}
        situation(fleet, Random(1))
        [*_, event] = fleet.faults or fleet.benign
        [agent] = event.agents
        usage = before.get(agent, [(Usage(), Usage())] * HOURS)
        changed = [hour for hour in range(HOURS) if agent.usage[hour] != usage[hour]]
        assert any(event.begins <= hour + 1 and hour < event.ends for hour in changed), situation


def test_a_finding_about_something_unusual_that_is_no_fault_is_benign() -> None:
    fleet, fault = planted()
    culprit, another = fleet.agents[0].agent_id, fleet.agents[1].agent_id
    fleet.benign.append(Event("backfill", [fleet.agents[1]], EVALUATED + 30, EVALUATED + 33))
    score = Score(fleet)
    found = [
        reported(fleet, "spike", culprit, 11),
        reported(fleet, "spike", another, 31),
        reported(fleet, "spike", another, 90),
        reported(fleet, "spike", culprit, 31),
    ]
    score.see(found)
    assert [score.verdict(one) for one in found] == ["true", "benign", "false", "false"]
    assert fault in score.reported_at


class InDatabase:
    """A fleet that is counted in a PostgreSQL, where the service's own statements read it."""

    def __init__(self, fleet: Fleet, connection: psycopg.Connection[Any], database: Database) -> None:
        self.fleet, self.connection, self.database = fleet, connection, database
        self.counted = 0
        self.enter(fleet.start).fetch("organizations/add_organization", name=f"Fleet {fleet.seed}")

    def enter(self, at: datetime) -> Transaction:
        enter_organization(self.connection, self.fleet.organization_id, durable=False)
        return Transaction(self.connection, self.fleet.organization_id, at)

    def count(self, halves: int) -> None:
        """Register and retire agents, and count their usage, until so many half hours are counted."""
        sums: dict[UUID, Hours] = {agent.agent_id: {} for agent in self.fleet.agents}
        for half in range(self.counted, halves):
            hour, at = half // 2, self.fleet.at(half // 2)
            for agent in self.fleet.agents:
                if half % 2 == 0 and hour in (agent.joins, agent.leaves):
                    self.join_or_leave(agent, hour)
                if any(usage := agent.usage[hour][half % 2]):
                    counts = sums[agent.agent_id].setdefault(hour_number(at.date(), at.hour), [0, 0, 0])
                    counts[:] = usage.plus(Usage(*counts))
        add_usage(self.enter(self.fleet.at(halves / 2)), sums)
        self.counted = halves
        self.connection.commit()

    def join_or_leave(self, agent: Agent, hour: int) -> None:
        opened = self.enter(self.fleet.at(hour))
        if agent.joins == hour:
            values: dict[str, Any] = dict.fromkeys(("expected_replicas", "provisioned", "provisioned_selector"))
            values |= {"description": "", "owner": "", "scopes": [], "dpop_bound_access_tokens": False}
            # By the statement, because a fleet has the same ids in memory and here.
            opened.fetch("agents/add_agent", agent_id=agent.agent_id, name=agent.name, **values)
        if agent.leaves == hour and agent.leaves_by == "suspended":
            update_agent(opened, agent.agent_id, {"status": "suspended"})
        elif agent.leaves == hour:
            remove_agent(opened, agent.agent_id)

    def run(self, at: datetime) -> Callable[..., list[Rows]]:
        run: Callable[..., list[Rows]] = self.database.of(self.fleet.organization_id, at).run
        return run


def every_finding(counters: Any) -> list[list[dict[str, Any]]]:
    """What each of some looks finds: amid an hour and at its end, over the whole evaluated span."""
    return [
        [one.represent() for one in found(counters, halves)[0] if one.kind not in NOT_JUDGED]
        for halves in range(2 * EVALUATED + 1, 2 * HOURS + 1, 15)
    ]


@pytest.mark.parametrize(
    ("seed", "kinds"),
    [
        (9, {"dominance", "silence", "spike", "uncached_tokens", "weekend"}),
        (11, {"rejections", "spike", "uncached_tokens", "weekend"}),
    ],
)
def test_a_fleet_in_memory_has_the_findings_of_the_same_fleet_in_the_database(
    database_url: str, seed: int, kinds: set[str]
) -> None:
    fleet = fleet_of(f"situations in memory {seed}")
    database = Database(database_url, settings_for(database_url))
    with connect(database_url) as connection:
        connection.autocommit = False
        in_database = every_finding(InDatabase(fleet, connection, database))
    database.close()
    assert in_database == every_finding(InMemory(fleet))
    assert {one["kind"] for look in in_database for one in look} >= kinds


def test_a_series_is_judged_by_its_windows() -> None:
    one = Series([20] * SERIES_HOURS, [(JUDGED + 100, JUDGED + 130)])
    for hour in (99, 100, 129, 400, 410):
        # What comes back is only listed unless it is far more.
        one.counts[JUDGED + hour] = 500 if hour < 400 else 2000
    # Apart from the window: its hour just before, and two with less than a day between them.
    assert judge_series(one, Severity.warning) == (1, 2)
    assert judge_series(Series([20] * SERIES_HOURS, one.windows), Severity.info) == (0, 0)
    made = make_series("a")
    assert made == make_series("a") != make_series("b")
    assert all(JUDGED < begins < ends <= SERIES_HOURS for begins, ends in made.windows)
