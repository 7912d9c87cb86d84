"""``weekend``: activity on days that are usually quiet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.weekend import build_call, find_unusual_work
from tests.factories import NOON
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, build_query, window

SATURDAY = datetime(2026, 4, 11, 10, tzinfo=UTC)
SUNDAY = datetime(2026, 4, 12, 10, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)


def weekdays(at: datetime) -> int:
    """100 tokens from Monday to Friday."""
    return 100 * (at.weekday() < 5)


def work(
    usage: Usage, name: str, tokens: Callable[[datetime], int] = weekdays, weeks: int = 10, ends: datetime = NOON
) -> UUID:
    """An agent with ``tokens(day)`` at ten o'clock of each day of the last *weeks* before *ends*."""
    agent = usage.agent(name)
    usage.work(agent, ends.replace(hour=10) - weeks * WEEK, ends, lambda at: tokens(at) if at.hour == 10 else 0)
    return agent


def shown(lists: Lists, **query: int) -> list[tuple[str, str, list[str]]]:
    """Return the begin, the end and the contributing agents per finding."""
    return [
        (f"{reported.begins:%m-%d}", f"{reported.ends:%m-%d}", [agent.agent_name for agent in reported.agents])
        for reported in lists.findings("weekend", **query)
    ]


def week(weekday: int, on_day_of_rest: int) -> list[int]:
    """Return the counts of seven days with all tokens at 9:00. The last day is a day of rest."""
    return [count for of_day in (*[weekday] * 6, on_day_of_rest) for count in [*[0] * 9, of_day, *[0] * 14]]


@pytest.mark.parametrize(
    ("weekday", "before", "today", "expected"),
    [
        # A quarter of an average day, and ten tokens.
        (80, 0, 20, (20, 0)),
        (80, 0, 19, None),
        (20, 0, 10, (10, 0)),
        (20, 0, 9, None),
        # The tokens exceed the highest count by a quarter of an average day, and that count is at most a quarter.
        (80, 20, 40, (40, 20)),
        (80, 20, 39, None),
        (80, 21, 90, None),
    ],
)
def test_a_day_of_rest_is_exceeded(weekday: int, before: int, today: int, expected: tuple[int, int] | None) -> None:
    weeks = [week(weekday, of_day) for of_day in (0, 0, 0, before, 0, 0, 0, before, today)]
    counts = [count for named_agent in weeks for count in named_agent]
    assert find_unusual_work(counts, 62) == expected


@pytest.mark.parametrize(("weeks_ago", "expected"), [(8, None), (9, (60, 0))])
def test_an_agent_that_worked_on_such_a_day_in_the_last_eight_weeks_may_do_so_again(
    weeks_ago: int, expected: tuple[int, int] | None
) -> None:
    weeks = [week(80, 60 if ago == weeks_ago else 0) for ago in range(10, 0, -1)]
    counts = [count for named_agent in [*weeks, week(80, 60)] for count in named_agent]
    assert find_unusual_work(counts, 76) == expected


@pytest.mark.parametrize(("days", "is_found"), [(20, False), (21, True)])
def test_a_new_agent_has_three_weeks_to_show_its_habits(lists: Lists, days: int, is_found: bool) -> None:
    new = work(lists, "new", lambda at: weekdays(at) * (at >= SATURDAY - days * DAY))
    lists.count(new, SATURDAY - days * DAY, 1)
    lists.count(new, SATURDAY, 60)
    assert len(lists.findings("weekend")) == is_found


@pytest.mark.parametrize(("workdays", "is_found"), [(3, False), (4, True)])
def test_an_agent_is_judged_that_works_on_two_thirds_of_its_other_days(
    lists: Lists, workdays: int, is_found: bool
) -> None:
    lists.count(work(lists, "part-time", lambda at: 100 * (at.weekday() < workdays)), SATURDAY, 90)
    assert len(lists.findings("weekend")) == is_found


def western(at: datetime) -> int:
    """Ten an hour from Monday to Friday, 8 to 20 seven hours west of UTC: 30 on Saturday by UTC, 95 on other days."""
    local = at - timedelta(hours=7)
    return 10 * (local.weekday() < 5 and 8 <= local.hour < 20)


@pytest.mark.parametrize(
    ("hour", "tokens", "is_found"),
    [
        (12, 24, True),
        (12, 23, False),  # not a quarter of an average day
        (4, 80, True),
        (3, 80, False),  # beside the last hour of its Friday, which may become late
    ],
)
def test_an_agent_whose_friday_ends_on_saturday_by_utc_is_judged_by_the_hours_in_which_it_rests(
    lists: Lists, hour: int, tokens: int, is_found: bool
) -> None:
    agent = lists.agent("western")
    lists.work(agent, NOON - 10 * WEEK, NOON, western)
    lists.count(agent, SATURDAY.replace(hour=hour), tokens)
    assert [(reported.observed, reported.expected) for reported in lists.findings("weekend")] == [
        (tokens, 0)
    ] * is_found


@pytest.mark.parametrize(("times", "is_found"), [(1, True), (2, False)])
def test_an_hour_is_one_of_rest_if_the_agent_was_at_work_in_it_once(lists: Lists, times: int, is_found: bool) -> None:
    agent = lists.agent("western")
    lists.work(agent, NOON - 10 * WEEK, NOON, western)
    for weeks in range(1, times + 1):
        lists.count(agent, SATURDAY.replace(hour=12) - weeks * WEEK, 10)
    lists.count(agent, SATURDAY.replace(hour=11), 60)
    assert len(lists.findings("weekend")) == is_found


def test_adjacent_days_are_one_finding_with_those_that_did_most_first(lists: Lists) -> None:
    for number in range(7):
        agent = work(lists, f"office-{number}")
        lists.count(agent, SATURDAY, 40 + number)
        if number == 0:
            lists.count(agent, SUNDAY, 50)
    [reported] = lists.findings("weekend", now=SUNDAY.replace(minute=30))
    assert (reported.begins, reported.ends) == (SATURDAY.replace(hour=0), SUNDAY.replace(minute=30))
    assert (reported.agent_id, reported.agent_count) == (None, 7)
    assert [(agent.agent_name, agent.count) for agent in reported.agents] == [
        ("office-0", 90),
        ("office-6", 46),
        ("office-5", 45),
        ("office-4", 44),
        ("office-3", 43),
    ]
    assert reported.observed == reported.excess == 90 + 41 + 42 + 43 + 44 + 45 + 46
    assert reported.summary == (
        "office-0 and 6 other agents were issued 351 tokens from Saturday, 11 April 2026 to Sunday, 12 April 2026,"
        " when they usually rest."
    )


@pytest.mark.parametrize(("tokens", "severity"), [(29, Severity.info), (30, Severity.warning)])
def test_is_a_warning_from_thirty_tokens_on(lists: Lists, tokens: int, severity: Severity) -> None:
    lists.count(work(lists, "office"), SATURDAY, tokens)
    assert [reported.severity for reported in lists.findings("weekend")] == [severity]


def test_two_weekends_are_two_findings_and_two_agents_one(lists: Lists) -> None:
    first, second = work(lists, "first"), work(lists, "second")
    lists.count(first, SATURDAY, 60)
    lists.count(second, SUNDAY - WEEK, 60)
    lists.count(first, SUNDAY - WEEK, 50)
    assert shown(lists, days=4) == []
    assert shown(lists, days=5) == [("04-11", "04-12", ["first"])]
    findings = lists.findings("weekend", days=30)
    assert [f"{reported.begins:%m-%d}" for reported in findings] == ["04-11", "04-05"]
    assert findings[1].summary.startswith("second and another agent were issued 110 tokens")


@pytest.mark.parametrize(("days_ago", "is_found"), [(28, False), (27, True)])
def test_is_looked_for_within_four_weeks_at_most(lists: Lists, days_ago: int, is_found: bool) -> None:
    lists.count(work(lists, "office", weeks=13), SATURDAY, 60)
    assert len(lists.findings("weekend", now=SATURDAY + days_ago * DAY, days=90)) == is_found


@pytest.mark.slow
class TestStatement:
    """The statement selects candidates."""

    def read(self, fleet: Fleet, at: datetime = NOON) -> dict[str | None, list[int]]:
        """The agents that are read, and the days of rest under ``None``."""
        query = build_query(at)
        [rows] = fleet.services.database.of(fleet.organization_id, at).run(build_call(query))
        return {row.agent_name: sorted(row.history) if row.agent_id is None else [] for row in rows}

    def test_names_the_agent_that_works_on_its_day_of_rest(self, fleet: Fleet) -> None:
        agent = work(fleet, "office")
        work(fleet, "constant", lambda at: 1000)
        fleet.count(agent, SATURDAY, 45, requests=1000)
        fleet.count(agent, SATURDAY.replace(hour=23), 5)
        fleet.store()
        assert fleet.findings("weekend") == [
            body(
                "weekend",
                "warning",
                (agent, "office"),
                window=window("2026-04-11T00:00", "2026-04-12T00:00"),
                **amounts(
                    50, 0, "tokens", "the highest of the same weekday in up to 8 weeks before, or none in hours of rest"
                ),
                agents=[{"agentId": str(agent), "agentName": "office", "count": 50}],
                summary="office was issued 50 tokens on Saturday, 11 April 2026, when it usually rests.",
                causes="Work that was planned for these days, a schedule that was changed, or somebody else who uses "
                "the credentials.",
                next="Ask the people who run these agents. If nobody knows about the work, revoke their credentials.",
            )
        ]

    @pytest.mark.parametrize(
        ("shop", "rest_days"),
        [
            # No day is clearly quiet: Saturday and Sunday.
            (lambda at: 700 - 10 * (at.weekday() in (1, 2)), [0, 6]),
            # Fridays and Saturdays have less than half of the average.
            (lambda at: 700 * (at.weekday() not in (4, 5)), [5, 6]),
        ],
    )
    def test_the_organization_rests_on_its_quietest_days(
        self, fleet: Fleet, shop: Callable[[datetime], int], rest_days: list[int]
    ) -> None:
        office = work(fleet, "office")
        fleet.count(office, SATURDAY, 60)
        work(fleet, "shop", shop)
        fleet.store()
        assert self.read(fleet)[None] == rest_days

    def test_reads_agents_that_may_be_at_work_on_a_day_of_rest(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        least = thresholds.MIN_WEEKEND_TOKENS
        for name, tokens, before in (
            ("few tokens", least - 1, {}),
            ("enough tokens", least, {}),
            ("one week before", 60, {1: 60}),
            ("two weeks before", 60, {1: 31, 2: 31}),
            ("hardly any before", 62, {1: 31, 2: 31}),
            ("rejected", 0, {}),
        ):
            agent = work(fleet, name)
            fleet.count(agent, SATURDAY, tokens, rejected=500)
            for weeks, count in before.items():
                fleet.count(agent, SATURDAY - weeks * WEEK, count)
        fleet.store()
        assert {*self.read(fleet)} == {"enough tokens", "one week before", "hardly any before", None}
        # From Saturday on, and not after it.
        assert "enough tokens" in self.read(fleet, SATURDAY)
        assert "enough tokens" not in self.read(fleet, SATURDAY - DAY)
        monkeypatch.setattr(thresholds, "MAX_WEEKEND_AGENTS", 1)
        assert {*self.read(fleet)} == {"hardly any before", None}
