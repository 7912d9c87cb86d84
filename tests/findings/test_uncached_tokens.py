"""``uncached_tokens``: agents that request a token before each call, day after day."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, Severity
from agentidp.findings.uncached_tokens import merge_uncached_tokens
from agentidp.registry.resource_servers import add_resource_server, update_resource_server
from tests.factories import NOON, a_finding, count_usage
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, window

TODAY = datetime(2026, 4, 15, tzinfo=UTC)
OFFICE = range(9, 17)
"""Hours of a day."""
ALWAYS = range(24)

Tokens = int | Callable[[datetime], int]


def at(days_ago: int, hour: int = 0) -> datetime:
    """An hour of a day."""
    return TODAY - timedelta(days=days_ago) + timedelta(hours=hour)


def works(usage: Usage, name: str, *times: tuple[Iterable[int], Iterable[int], Tokens]) -> UUID:
    """Add an agent with usage, and return its id.

    :param times: days ago, hours, and the tokens in each of these hours, in addition to ten requests.
    """
    agent_id = usage.agent(name)
    for days_ago, hours, tokens in times:
        for when in (at(day, hour) for day in days_ago for hour in hours):
            usage.count(agent_id, when, tokens if isinstance(tokens, int) else tokens(when), requests=10)
    return agent_id


def calls(mean: int, seed: str) -> Callable[[datetime], int]:
    """Return a function for a random number of calls per hour with this mean. Each call requests a token."""
    random = Random(seed)
    return lambda when: sum(random.random() < mean / 1000 for _ in range(1000))


def replicas(number: int, seed: str) -> Callable[[datetime], int]:
    """Return a function for instances that cache tokens and renew them early: sometimes one requests two per hour."""
    random = Random(seed)
    return lambda when: number + sum(random.random() < 0.05 for _ in range(number))


LOOP = {at(day, hour) for day in (1, 2) for hour in (9, 10, 11)}


@pytest.mark.parametrize(
    ("times", "is_found"),
    [
        # Ten instances that keep their token, and one more.
        ([([1, 2], OFFICE, 10)], False),
        ([([1, 2], OFFICE, 11)], True),
        # 28 and 30 tokens on each day, of which two are needed.
        ([([1, 2], [9, 14], 14)], False),
        ([([1, 2], [9, 14], 15)], True),
        # An incident; two days in a row, also if it was idle between them.
        ([([1], OFFICE, 160)], False),
        ([([0, 1], range(11), 160)], True),
        ([([1, 3, 5], OFFICE, 160), ([2, 4], OFFICE, 1)], False),
        # Before the days looked at.
        ([([7, 8], OFFICE, 160)], False),
        # A retry loop in fewer than half of the active hours, and in half of them.
        ([(range(1, 7), OFFICE, lambda when: 3600 if when in LOOP else 1)], False),
        ([(range(1, 7), OFFICE, lambda when: 3600 if when in LOOP or when.hour == 12 else 1)], True),
        # Instances that keep their tokens ask in turn; calls come by chance, and a schedule is too steady.
        ([(range(1, 14), ALWAYS, replicas(40, "b"))], False),
        ([(range(1, 14), ALWAYS, calls(40, "d"))], True),
        ([(range(1, 14), ALWAYS, 100)], False),
        ([(range(1, 14), ALWAYS, 101)], True),
    ],
)
def test_is_a_habit(lists: Lists, times: Any, is_found: bool) -> None:
    works(lists, "worker", *times)
    assert len(lists.findings("uncached_tokens", now=at(0, 12))) == is_found


@pytest.mark.parametrize(("days", "is_found"), [(1, False), (2, True), (90, True)])
def test_is_found_on_a_day_that_is_looked_at_though_it_began_before(lists: Lists, days: int, is_found: bool) -> None:
    works(lists, "worker", ([1, 2], OFFICE, 60))
    assert len(lists.findings("uncached_tokens", days=days)) == is_found


def test_the_latest_habit_is_reported_to_the_end_of_its_last_day(lists: Lists) -> None:
    works(lists, "worker", ([6, 7, 2, 3], OFFICE, 60), ([1, 4, 5], OFFICE, 1))
    [reported] = lists.findings("uncached_tokens")
    assert (reported.begins, reported.ends) == (at(3), at(1))


@pytest.mark.parametrize(
    ("token_ttl", "hours", "tokens", "fewest"),
    [
        # Two days each; tokens an hour, of which the factor is 10 times what is needed.
        (3600, [9, 11, 13], 11, 6),
        # Five fit into an hour and a bit; a run of two hours needs eleven, not twice six.
        (700, [9, 10], 56, 22),
        # Idle at 10: within the life of a token that lasts as long.
        (7200, [9, 11, 13, 15], 21, 8),
        (7200, [9, 11, 13, 15], 10, None),
        # One token spans a day, whatever is idle in it.
        (86_400, [0, 23], 15, 2),
        (86_400, ALWAYS, 2, 2),
        # A job that begins again each hour.
        (86_400, ALWAYS, 1, None),
    ],
)
def test_the_fewest_follow_the_lifetime_and_the_active_hours(
    lists: Lists, token_ttl: int, hours: Iterable[int], tokens: int, fewest: int | None
) -> None:
    works(lists, "worker", ([1, 2], hours, tokens))
    findings = lists.findings("uncached_tokens", token_ttl=token_ttl)
    assert [reported.expected for reported in findings] == ([] if fewest is None else [fewest])


@pytest.mark.parametrize(("declared", "named"), [(1, "1 declared replica"), (12, "12 declared replicas")])
def test_names_the_declared_replicas(lists: Lists, declared: int, named: str) -> None:
    lists.replicas[works(lists, "worker", ([1, 2], OFFICE, 400))] = declared
    [reported] = lists.findings("uncached_tokens")
    assert reported.expected == 16 * declared
    assert reported.baseline == f"one token per 3600 seconds in its active hours, for {named}"
    assert reported.summary == f"worker was issued 6,400 tokens on 2 days; its {named} needed {16 * declared}."
    assert reported.causes.endswith(", or more instances of it run than are declared.")


@pytest.mark.parametrize(
    ("times", "begins"),
    [
        # A habit that went on for weeks, and the newest part of one with a day of little work.
        ([(range(15), OFFICE, 160)], 14),
        ([({*range(40)} - {3}, OFFICE, 160), ([3], OFFICE, 1)], 2),
    ],
)
def test_is_information_however_new(lists: Lists, times: Any, begins: int) -> None:
    works(lists, "worker", *times)
    [reported] = lists.findings("uncached_tokens")
    assert (reported.severity, reported.begins) == (Severity.info, at(begins))


def test_several_agents_are_one_finding_that_names_twenty(lists: Lists) -> None:
    for number in range(21):
        days = [1 + number % 2, 2 + number % 2]
        works(lists, f"worker {number:02}", (days, OFFICE, 20 + number))
    [reported] = lists.findings("uncached_tokens")
    assert (reported.agent_id, reported.agent_count, reported.begins, reported.ends) == (None, 21, at(3), at(0))
    assert [named_agent.agent_name for named_agent in reported.agents] == [
        f"worker {number:02}" for number in range(20, 0, -1)
    ]
    assert reported.observed == sum(named_agent.count for named_agent in reported.agents) + 2 * 8 * 20
    assert reported.summary == (
        f"21 agents request a token for each call: they were issued {reported.observed:,.0f} tokens and needed "
        f"{reported.expected:,.0f}."
    )


HABIT = a_finding(
    NOON, kind="uncached_tokens", severity=Severity.info, agent_id=UUID(int=1), agent_name="one", excess=60
)
OTHER = replace(HABIT, agent_id=UUID(int=2), agent_name="other", excess=40)
BUDGET = a_finding(NOON, kind="budget", observed=1000)


@pytest.mark.parametrize(
    ("limit", "severity"),
    [
        # Together they wasted a tenth.
        (BUDGET, Severity.warning),
        (replace(BUDGET, observed=1001), Severity.info),
        (replace(BUDGET, kind="quota", severity=Severity.info), Severity.warning),
        (replace(BUDGET, kind="dominance"), Severity.info),
        # The habit of this agent alone counts for its own quota.
        (replace(BUDGET, kind="quota", agent_id=UUID(int=1), observed=600), Severity.warning),
        (replace(BUDGET, kind="quota", agent_id=UUID(int=1), observed=601), Severity.info),
        (replace(BUDGET, kind="quota", agent_id=UUID(int=3), observed=1), Severity.info),
        # Before or after the habit.
        (replace(BUDGET, begins=HABIT.ends, ends=HABIT.ends + timedelta(days=1)), Severity.info),
        (replace(BUDGET, begins=HABIT.begins - timedelta(days=1), ends=HABIT.begins), Severity.info),
    ],
)
def test_warns_if_a_budget_or_a_quota_is_in_danger(limit: Finding, severity: Severity) -> None:
    *other_findings, habit = merge_uncached_tokens([HABIT, limit, OTHER])
    assert (other_findings, habit.severity, habit.agent_count) == ([limit], severity, 2)
    # So does a single agent, which keeps its own finding.
    [_, single] = merge_uncached_tokens([replace(HABIT, excess=100), replace(BUDGET, observed=1000)])
    assert (single.severity, single.agent_id) == (Severity.warning, HABIT.agent_id)


def agents_in(findings: list[dict[str, Any]]) -> dict[str, int]:
    """The agents that a finding is about, with the tokens of each."""
    [reported] = findings
    if reported["agentName"]:
        return {reported["agentName"]: reported["observed"]["value"]}
    return {agent["agentName"]: agent["count"] for agent in reported["agents"]}


def change_server(fleet: Fleet, server_id: UUID, **change: Any) -> None:
    """Change a resource server as ``PATCH /api/v1/resource-servers/{resourceServerId}`` does."""
    with fleet.database.transaction() as opened:
        update_resource_server(opened, fleet.services.settings, server_id, change)


@pytest.mark.slow
def test_tokens_for_a_resource_server_that_wants_one_for_each_call_are_left_out(fleet: Fleet, outsiders: Fleet) -> None:
    per_call, other = (f"https://{name}.example/{uuid4()}" for name in ("pay", "files"))
    with fleet.database.transaction() as opened:
        server, _ = (
            add_resource_server(opened, fleet.services.settings, resource=resource, name="one", scopes=[])
            for resource in (per_call, other)
        )
    worker, both = fleet.agent("worker"), fleet.agent("both")

    def issue(agent_id: UUID, when: datetime, tokens: int, resource: str) -> None:
        count_usage(fleet.services, fleet.organization_id, agent_id, when, tokens=tokens, resource=resource)

    for day in (1, 2, 3):
        for hour in range(4):
            issue(worker, at(day, 8 + hour), 12, per_call)
            issue(both, at(day, 8 + hour), 12, per_call)
        # In an hour in which it needs no other token.
        issue(both, at(day, 8), 30, other)
    assert agents_in(fleet.findings("uncached_tokens")) == {"worker": 3 * 48, "both": 3 * 78}
    change_server(fleet, server.resource_server_id, token_per_call=True)
    [finding] = fleet.findings("uncached_tokens")
    assert (finding["agentName"], finding["observed"]["value"], finding["expected"]["value"]) == ("both", 3 * 30, 3)
    change_server(fleet, server.resource_server_id, token_per_call=False, token_ttl=3600)
    assert len(agents_in(fleet.findings("uncached_tokens"))) == 2
    # More of them are needed than of others.
    change_server(fleet, server.resource_server_id, token_ttl=3599)
    assert agents_in(fleet.findings("uncached_tokens")).keys() == {"both"}
    change_server(fleet, server.resource_server_id, token_ttl=None)
    assert len(agents_in(fleet.findings("uncached_tokens"))) == 2
    # What another organization wants of its own resource servers says nothing of this one's.
    with outsiders.database.transaction() as opened:
        opened._connection.execute(
            "insert into resource_servers values (%s, gen_random_uuid(), %s, 'one', '{}', now(), true)",
            [outsiders.organization_id, per_call],
        )
    assert len(agents_in(fleet.findings("uncached_tokens"))) == 2


@pytest.mark.slow
class TestStatement:
    """The statement selects further candidates."""

    def test_says_how_many_were_issued_and_how_many_suffice(self, fleet: Fleet) -> None:
        # On the fourth day before it cached.
        worker = works(fleet, "worker", ([1, 2, 3], OFFICE, 160), ([0], range(9, 12), 160), ([4], OFFICE, 1))
        works(fleet, "thrifty", (range(7), ALWAYS, 1))
        fleet.store()
        assert fleet.findings("uncached_tokens") == [
            body(
                "uncached_tokens",
                "info",
                (worker, "worker"),
                window=window("2026-04-12T00:00", "2026-04-15T12:00"),
                **amounts(4320, 27, "tokens", "one token per 3600 seconds in its active hours"),
                summary="worker was issued 4,320 tokens on 4 days; it needed 27.",
                causes="It asks for a new token before each call instead of keeping the one that it has, or very many "
                "instances of it run.",
                next="Make it keep its token for the 3600 seconds of expires_in, which would have saved 4,293 tokens. "
                "If its instances are short-lived, let them share one. If many instances run, declare how many: "
                "agentidp agent update --expected-replicas.",
            )
        ]

    @pytest.mark.parametrize(
        ("days_ago", "days", "is_found"),
        [
            ([5, 6], 7, True),
            ([6, 7], 7, False),  # the second lies before the days that are read
            ([5, 6], 1, False),
            ([13, 14], 90, False),
        ],
    )
    def test_candidates_are_read_of_one_to_two_weeks(
        self, fleet: Fleet, days_ago: list[int], days: int, is_found: bool
    ) -> None:
        works(fleet, "worker", (days_ago, OFFICE, 60))
        fleet.store()
        assert len(fleet.findings("uncached_tokens", days=days)) == is_found

    def test_reads_those_that_waste_the_most_on_days_with_enough(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        works(fleet, "just above", ([1, 2], [9, 14], 15))
        works(fleet, "ten times", ([1, 2], OFFICE, 10))
        deleted = works(fleet, "deleted", ([1, 2], OFFICE, 60))
        crowd = works(fleet, "crowd", ([1, 2], OFFICE, 1_000))
        fleet.store()

        def list_agents() -> set[str]:
            return {*agents_in(fleet.findings("uncached_tokens"))}

        assert list_agents() == {"just above", "deleted", "crowd"}
        assert fleet.api.delete(f"agents/{deleted}").status_code == 204
        assert list_agents() == {"just above", "crowd"}
        # What needs what it declares takes no place of those that waste.
        monkeypatch.setattr(thresholds, "MAX_UNCACHED_SUSPECTS", 1)
        assert list_agents() == {"crowd"}
        fleet.api.patch(f"agents/{crowd}", {"expectedReplicas": 1_000})
        assert list_agents() == {"just above"}
