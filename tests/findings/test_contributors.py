"""Who caused a finding about the whole organization: on findings made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings.contributors import name_contributors
from agentidp.findings.finding import Contributor, Finding
from tests.factories import NOON, a_finding
from tests.findings.conftest import Fleet, build_query

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MIDNIGHT = NOON.replace(hour=0)
MONTH = {"begins": MIDNIGHT.replace(day=1), "ends": MIDNIGHT + 16 * DAY}
NAMES = ("a", "b", "c")


def of_the_month(*counts: int) -> Rows:
    """Return rows of the agents a, b and c for the month."""
    return [
        SimpleNamespace(agent_id=str(UUID(int=place)), agent_name=name, token_count=count)
        for place, (name, count) in enumerate(zip(NAMES, counts, strict=False), 1)
    ]


def named(reported: Finding, rows: Rows, *other_findings: Finding, days: Sequence[Any] = ()) -> Finding:
    """Return the finding with the agents that caused it."""

    def run(*calls: Call) -> list[Rows]:
        return [[*days] if call.name == "findings/contributor_days" else rows for call in calls]

    return name_contributors(run, [reported, *other_findings], build_query())[0]


def on_days(agent: int, *counts: int) -> list[Any]:
    """Return rows of an agent's tokens on the first days of the month."""
    first = MONTH["begins"].date()
    return [
        SimpleNamespace(agent_id=UUID(int=agent), on_day=first + n * DAY, tokens=tokens)
        for n, tokens in enumerate(counts)
    ]


def a_budget(**changes: Any) -> Finding:
    """Return a finding about a budget, with 1,000 tokens of the month."""
    return a_finding(NOON, **{"kind": "budget", "observed": 1000, "summary": "Exceeded.", **MONTH, **changes})


@pytest.mark.parametrize(
    ("counts", "agents", "sentence"),
    [
        ((905, 95), 1, "a was issued 905 of the 1,000 tokens (90 %)."),
        ((700, 100, 99), 2, "a and b were issued 800 of the 1,000 tokens (80 %)."),
        ((400, 300, 300), 3, "a, b and c were issued 1,000 of the 1,000 tokens (100 %)."),
        # The counters have grown meanwhile.
        ((1001,), 1, "a was issued 1,000 of the 1,000 tokens (100 %)."),
        ((99, 98), 0, ""),
    ],
)
def test_who_has_a_tenth_of_the_tokens_is_named(counts: tuple[int, ...], agents: int, sentence: str) -> None:
    reported = named(a_budget(), of_the_month(*counts))
    assert reported.summary == f"Exceeded. {sentence}".strip()
    assert [agent.agent_name for agent in reported.agents] == [*NAMES[:agents]]


def test_the_spike_of_the_organization_keeps_those_that_grew_and_names_the_largest() -> None:
    agents = tuple(Contributor(agent_id=UUID(int=count), agent_name=f"{count}", count=count) for count in (850, 50))
    reported = named(a_finding(NOON, summary="A spike.", agents=agents), [])
    assert reported.summary == "A spike. 850 was issued 850 of the 900 tokens (94 %)."
    assert reported.agents == agents


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        (
            MONTH["begins"],
            MONTH["ends"],
            Call(
                "analytics/agent_usage",
                {"first": MONTH["begins"].date(), "last": NOON.date(), "with_names": True, "limit": 5},
            ),
        ),
        (MIDNIGHT, MIDNIGHT + DAY, (NOON.date(), None)),
        (NOON, NOON + HOUR, (NOON.date(), 12)),
    ],
)
def test_reads_the_agents_of_the_window(begins: Any, ends: Any, expected: Any) -> None:
    called: list[Call] = []

    def run(*calls: Call) -> list[Rows]:
        called.extend(calls)
        return [[] for _ in calls]

    quota = a_finding(NOON, kind="quota", begins=begins, ends=ends)
    of_agent = a_finding(NOON, kind="quota", agent_id=UUID(int=1), agent_name="a")
    name_contributors(run, [quota, of_agent, a_finding(NOON)], build_query())
    [call] = called
    of_day = (call.parameters.get("on_day"), call.parameters.get("at_hour"))
    assert expected in (call, of_day)


def habit(**changes: Any) -> Finding:
    """A habit of the agent a that wasted a tenth of the budget."""
    values = {
        "kind": "uncached_tokens",
        "agent_id": UUID(int=1),
        "agent_name": "a",
        "excess": 100,
        "summary": "a was issued 120; it needed 20.",
        "causes": "It asks before each call.",
        "next_step": "Keep it.",
    }
    return a_finding(NOON, **values | changes)


def test_what_another_finding_knows_of_who_caused_it_is_the_cause() -> None:
    reported = named(a_budget(), of_the_month(900), habit(kind="spike", causes="More work."), habit())
    assert reported.causes == "a was issued 120; it needed 20. It asks before each call."
    assert reported.next_step == "Keep it."


@pytest.mark.parametrize(
    "changes",
    [
        {"excess": 99},
        {"agent_id": UUID(int=2)},
        {"kind": "dominance"},
        {"begins": MONTH["begins"] - DAY, "ends": MONTH["begins"]},
        {"begins": MONTH["ends"], "ends": MONTH["ends"] + DAY},
    ],
)
def test_any_other_finding_is_not(changes: dict[str, Any]) -> None:
    assert named(a_budget(), of_the_month(900, 50), habit(**changes)).causes == "A test."


def test_names_nobody_if_the_database_is_too_slow_for_that() -> None:
    def run(*_: Call) -> list[Rows]:
        raise DatabaseUnavailable

    assert name_contributors(run, [a_budget()], build_query()) == [a_budget()]


def test_the_finding_that_explains_the_most_tokens_is_the_cause() -> None:
    spike = habit(kind="spike", agent_id=UUID(int=2), excess=500, summary="b was issued 500.", causes="A loop.")
    assert named(a_budget(), of_the_month(400, 600), habit(), spike).causes == "b was issued 500. A loop."


@pytest.mark.parametrize(("excess", "is_of_day"), [(100, True), (280, False)])
def test_a_day_that_explains_far_more_tokens_is_the_cause_though_its_spike_has_ended(
    excess: int, is_of_day: bool
) -> None:
    steady = on_days(1, *[27] * 15)
    reported = named(a_budget(), of_the_month(400, 600), habit(excess=excess), days=[*steady, *on_days(2, 5, 560, 35)])
    of_day = "b was issued 560 tokens on Thursday, 2 April 2026; on its median day of the month it was issued 0."
    assert (reported.causes == of_day) == is_of_day


def test_steady_days_are_no_cause() -> None:
    assert named(a_budget(), of_the_month(600), days=on_days(1, *[40] * 15)).causes == "A test."


def test_reads_the_days_of_those_that_are_named(fleet: Fleet) -> None:
    busy, other = (fleet.agent(name) for name in ("busy", "other"))
    for days_ago, tokens in ((1, 30), (10, 900), (20, 7)):
        fleet.count(busy, NOON - days_ago * DAY, tokens)
    fleet.count(other, NOON, 50)
    fleet.store()
    first = MONTH["begins"].date()
    call = Call("findings/contributor_days", {"agent_ids": [busy], "first": first, "last": NOON.date()})
    [rows] = fleet.services.database.of(fleet.organization_id, NOON).run(call)
    assert sorted((row.agent_id, row.on_day, row.tokens) for row in rows) == [
        (busy, (NOON - days_ago * DAY).date(), tokens) for days_ago, tokens in ((10, 900), (1, 30))
    ]
