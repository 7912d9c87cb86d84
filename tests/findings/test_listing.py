"""``GET /api/v1/analytics/findings`` and the table behind it: stored, read, evaluated on demand, and by whom."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from agentidp.alerts.state_change import FORMER_KINDS
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call
from agentidp.findings import DEFAULT_DAYS, ComputedFindings, build_findings_query, store
from agentidp.findings.finding import Contributor, Finding, Severity
from agentidp.findings.identity import MAX_MISSES
from agentidp.findings.listing import STORED_KINDS
from agentidp.findings.store import MAX_AGE_IN_INTERVALS, evaluate, read_finding, store_evaluation
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import make_cast
from tests.dashboard.conftest import unavailable
from tests.factories import NOON, PATIENCE, Api, Clock, a_finding, make_agent, make_finding
from tests.findings.conftest import FINDINGS, Fleet
from tests.wire import overheard

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE, OTHER = UUID(int=1), UUID(int=2)


def store_findings(
    fleet: Fleet, *findings: Finding, days: int = DEFAULT_DAYS, not_computed: tuple[str, ...] = ()
) -> None:
    """Store an evaluation with these findings."""
    query = build_findings_query(fleet.services.clock(), fleet.services.settings, days=days)
    with fleet.database.transaction() as opened:
        store_evaluation(opened, ComputedFindings([*findings], not_computed), query)


def test_a_finding_and_its_state(fleet: Fleet) -> None:
    finding_id = make_finding(fleet.services, fleet.organization_id)
    finding = a_finding(NOON)
    body = {
        **finding.represent(),
        "findingId": str(finding_id),
        "state": "ongoing",
        "firstSeenAt": "2026-04-15T12:00:00.000000Z",
        "lastSeenAt": "2026-04-15T12:00:00.000000Z",
        "endedAt": None,
        "acknowledgedAt": None,
        "acknowledgedBy": None,
        "note": None,
        "mutedUntil": None,
    }
    assert body["credentialId"] is None
    assert fleet.listed() == {
        "tenantId": fleet.organization_id,
        "days": DEFAULT_DAYS,
        "data": [body | {"partOf": None}],
        "notComputed": [],
        "evaluatedAt": "2026-04-15T12:00:00.000000Z",
    }
    alone = fleet.api.get(f"{FINDINGS}/{finding_id}")
    opened = {"at": "2026-04-15T12:00:00.000000Z", "change": "opened", "severity": "warning", "by": None, "note": None}
    assert (alone.status_code, alone.json) == (200, body | {"history": [opened]})


@pytest.mark.parametrize(
    "changes",
    [
        {"since": NOON - DAY},
        {"observed": 12.5, "expected": 0.25},
        {"agents": (Contributor(agent_id=ONE, agent_name="one", count=3),), "agent_count": 9},
        {"agent_id": ONE, "agent_name": "one", "credential_id": OTHER, "step": 2, "also_seen_as": ("silence",)},
    ],
)
def test_a_finding_says_the_same_once_it_has_been_stored(fleet: Fleet, changes: dict[str, Any]) -> None:
    finding = a_finding(NOON, **changes)
    finding_id = make_finding(fleet.services, fleet.organization_id, finding)
    read = read_finding(fleet.database.fetch, finding_id)
    assert (Finding.represent(read), read.step) == (finding.represent(), finding.step)
    assert (read.highest, read.announced, read.misses) == (finding.severity, finding.severity, 0)
    assert (read.first_seen_at, read.last_seen_at, read.ended_at) == (NOON, NOON, None)


def test_what_explains_a_finding_about_the_whole_follows_it_and_is_part_of_it(fleet: Fleet) -> None:
    loader = Contributor(agent_id=ONE, agent_name="loader", count=900)
    habit = a_finding(NOON, kind="uncached_tokens", agent_id=ONE, agent_name="loader", severity=Severity.info)
    other = a_finding(NOON, agent_id=OTHER, agent_name="other")
    budget = a_finding(NOON, kind="budget", agents=(loader,), severity=Severity.critical)
    store_findings(fleet, habit, other, budget)
    listed = fleet.listed()["data"]
    assert [reported["kind"] for reported in listed] == ["budget", "uncached_tokens", "spike"]
    assert [reported["partOf"] for reported in listed] == [None, listed[0]["findingId"], None]
    # The finding has partOf even if the request omits budgets.
    assert fleet.listed(kind="uncached_tokens")["data"] == [listed[1]]


@pytest.fixture
def with_outages(fleet: Fleet) -> Fleet:
    """A fleet with two days without requests, one of them in the last week, and with a spike now."""
    agent_id = fleet.agent("agent")
    without = {(NOON - days * DAY).date() for days in (3, 20)}
    fleet.work(agent_id, NOON - 60 * DAY, NOON, lambda at: 20 * (at.hour == 9 and at.date() not in without))
    fleet.count(agent_id, NOON, 900)
    fleet.store()
    return fleet


def test_evaluates_before_the_first_read_and_then_reads_what_is_stored(with_outages: Fleet) -> None:
    live = with_outages.findings()
    first = with_outages.listed()
    assert [{name: reported[name] for name in live[0]} for reported in first["data"]] == live
    assert [(reported["kind"], reported["state"]) for reported in first["data"]] == [
        ("spike", "ongoing"),
        ("silence", "ended"),
    ]
    with overheard(with_outages.services.database) as conversation:
        assert with_outages.listed() == first
    assert [name for name in conversation.statements if name.startswith("findings/")] == []


@pytest.mark.parametrize("kind", FORMER_KINDS)
def test_a_stored_finding_of_a_former_kind_can_be_read_and_ends(fleet: Fleet, clock: Clock, kind: str) -> None:
    store_findings(fleet, a_finding(NOON, kind=kind, also_seen_as=("dominance",)))
    [listed] = fleet.listed(kind=kind)["data"]
    assert (listed["kind"], listed["state"]) == (kind, "ongoing")
    for _ in range(MAX_MISSES):
        clock.now += timedelta(minutes=5)
        evaluate(
            fleet.database.run, fleet.database.transaction, build_findings_query(clock.now, fleet.services.settings)
        )
    read = fleet.api.get(f"{FINDINGS}/{listed['findingId']}").json
    assert (read["kind"], read["state"]) == (kind, "ended")
    assert [change["change"] for change in read["history"]] == ["opened", "resolved"]


def test_evaluates_again_when_nothing_watches(fleet: Fleet, clock: Clock) -> None:
    first = fleet.listed()["evaluatedAt"]
    fresh = MAX_AGE_IN_INTERVALS * timedelta(seconds=fleet.services.settings.watch_interval)
    clock.now = NOON + fresh
    assert fleet.listed()["evaluatedAt"] == first
    clock.now += timedelta(microseconds=1)
    assert fleet.listed()["evaluatedAt"] == "2026-04-15T12:10:00.000001Z"


def test_looks_back_as_far_as_is_asked_for(with_outages: Fleet) -> None:
    week, month = with_outages.listed(), with_outages.listed(days=40)
    assert [reported["kind"] for reported in month["data"]] == ["spike", "silence", "silence"]
    assert {reported["findingId"] for reported in week["data"]} <= {reported["findingId"] for reported in month["data"]}
    # An old one is recorded, and nobody is alerted.
    old = f"{FINDINGS}/{month['data'][-1]['findingId']}"
    assert [change["change"] for change in with_outages.api.get(old).json["history"]] == ["recorded"]
    with overheard(with_outages.services.database) as conversation:
        assert with_outages.listed(days=40)["data"] == month["data"]
        assert with_outages.listed()["data"] == week["data"]
    assert "findings/spike" not in conversation.statements


def test_lists_what_ended_within_the_days(fleet: Fleet) -> None:
    store_findings(fleet, a_finding(datetime(2026, 4, 12, 0, 0, 1, tzinfo=UTC)), not_computed=("silence", "spike"))
    assert [len(fleet.listed(days=days)["data"]) for days in (3, 4)] == [0, 1]
    assert fleet.listed()["notComputed"] == ["silence", "spike"]


def test_knows_no_history_of_a_time_without_evaluations(fleet: Fleet, clock: Clock) -> None:
    def first_day() -> date:
        [row] = fleet.database.fetch("finding_state/last_evaluation")
        return row.first_day

    store_findings(fleet, days=30)
    assert first_day() == NOON.date() - timedelta(days=29)
    clock.advance(days=DEFAULT_DAYS - 1)
    store_findings(fleet)
    assert first_day() == NOON.date() - timedelta(days=29)
    clock.advance(days=DEFAULT_DAYS)
    store_findings(fleet)
    assert first_day() == clock.now.date() - timedelta(days=DEFAULT_DAYS - 1)


def test_lists_by_state_kind_and_agent(fleet: Fleet) -> None:
    agent = fleet.agent("one")
    spike = a_finding(NOON, agents=(Contributor(agent_id=agent, agent_name="one", count=9),))
    silence = a_finding(NOON, kind="silence", agent_id=agent, agent_name="one")
    store_findings(fleet, spike, silence, a_finding(NOON - 9 * HOUR, kind="weekend"))
    [acknowledged] = fleet.listed(kind="silence")["data"]
    assert fleet.api.post(f"{FINDINGS}/{acknowledged['findingId']}/acknowledge", {}).status_code == 200
    for query, kinds in (
        ({}, ["silence", "spike", "weekend"]),
        ({"state": "ongoing"}, ["silence", "spike"]),
        ({"state": "acknowledged"}, ["silence"]),
        ({"state": "ended"}, ["weekend"]),
        ({"kind": "spike"}, ["spike"]),
        ({"kind": "weekend", "state": "ongoing"}, []),
        ({"agent": agent}, ["silence", "spike"]),
        ({"agent": "00000000-0000-4000-8000-000000000000"}, []),
    ):
        assert [reported["kind"] for reported in fleet.listed(**query)["data"]] == kinds
    for query, reason in (
        ({"state": "open"}, "must be one of ongoing, acknowledged, ended"),
        ({"agent": "one"}, "must be an agent's id"),
        ({"kind": "x"}, f"must be one of {', '.join(STORED_KINDS)}"),
    ):
        refused = fleet.api.get(FINDINGS, **query)
        assert (refused.status_code, refused.json["details"]) == (400, {name: [reason] for name in query})


def test_lists_old_ones_while_they_cannot_be_computed(
    fleet: Fleet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fleet.listed()
    clock.advance(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "evaluate", unavailable)
        assert fleet.listed() == first
        # No evaluation looked back so far.
        refused = fleet.api.get(FINDINGS, days=30)
    assert refused.status_code == 503
    assert fleet.listed()["evaluatedAt"] == "2026-04-15T13:00:00.000000Z"


class TestEvaluation:
    """:func:`evaluate` stores findings of a fleet without usage."""

    def evaluate(self, fleet: Fleet) -> None:
        query = build_findings_query(fleet.services.clock(), fleet.services.settings)
        evaluate(fleet.database.run, fleet.database.transaction, query)

    def test_ends_what_is_no_longer_found(self, fleet: Fleet, clock: Clock) -> None:
        make_finding(fleet.services, fleet.organization_id, a_finding(NOON + 9 * HOUR, kind="silence"))
        for _ in range(MAX_MISSES):
            assert fleet.listed()["data"][0]["endedAt"] is None
            clock.advance(minutes=1)
            self.evaluate(fleet)
        assert fleet.listed()["data"][0]["endedAt"] == "2026-04-15T12:00:00.000000Z"

    def test_an_older_one_changes_nothing(self, fleet: Fleet, clock: Clock) -> None:
        make_finding(fleet.services, fleet.organization_id)
        for at in (NOON, NOON - HOUR):
            clock.now = at
            for _ in range(MAX_MISSES):
                self.evaluate(fleet)
        clock.now = NOON
        assert [reported["state"] for reported in fleet.listed()["data"]] == ["ongoing"]

    def test_two_at_once_store_one(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        # Both have computed before either stores.
        together = threading.Barrier(2, timeout=PATIENCE)

        def compute_together(*_: Any) -> ComputedFindings:
            together.wait()
            return ComputedFindings([a_finding(NOON)])

        monkeypatch.setattr(store, "compute_findings", compute_together)
        threads = [threading.Thread(target=self.evaluate, args=[fleet]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(fleet.listed()["data"]) == 1

    def test_stores_all_or_nothing(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise DatabaseUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(store, "record_changes", broken)
            with pytest.raises(DatabaseUnavailable):
                store_findings(fleet, a_finding(NOON))
        everything = Call("finding_state/stored_findings", {"ended_after": NOON - 90 * DAY})
        assert fleet.database.run(everything, Call("finding_state/last_evaluation", {})) == [[], []]

    @COMPARES_STATEMENTS
    def test_what_has_ended_is_not_written_again(self, own_app: Flask, clock: Clock) -> None:
        services = own_app.extensions["agentidp"]
        fleet = Fleet(services, make_cast(services).acme, own_app.test_client())
        ended = a_finding(NOON - 9 * HOUR)
        store_findings(fleet, ended)
        clock.advance(minutes=5)
        with overheard(fleet.services.database) as conversation:
            store_findings(fleet, ended)
        assert "finding_state/store_findings" not in conversation.statements
        assert "finding_state/finish_evaluation" in conversation.statements


def test_a_deleted_agents_acknowledgement_keeps_its_name(fleet: Fleet) -> None:
    finding_id = make_finding(fleet.services, fleet.organization_id)
    other = make_agent(fleet.services, fleet.organization_id, "night shift")
    acknowledged = Api(fleet.client, other).post(f"{FINDINGS}/{finding_id}/acknowledge", {"note": "mine"})
    assert acknowledged.status_code == 200
    assert fleet.api.delete(f"agents/{other.client_id}").status_code == 204
    [reported] = fleet.listed()["data"]
    assert (reported["acknowledgedBy"], reported["note"]) == ("night shift", "mine")
