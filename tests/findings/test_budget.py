"""``budget``: what the month has cost, and where it will end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from agentidp.findings.budget import call
from tests.citus import REFUSED_BY_CITUS
from tests.factories import NOON, Clock, database_of
from tests.findings.conftest import Fleet

ORGANIZATION = "/api/v1/organization"


def workdays(at: datetime) -> int:
    """100 tokens on a workday, 10 at the weekend."""
    return 100 if at.weekday() < 5 else 10


def every_day(fleet: Fleet, first: date, last: date, tokens: Callable[[datetime], int] = workdays) -> None:
    """Count ``tokens(day)`` on each day from *first* to *last*."""
    agent_id = fleet.agent("worker")
    for n in range((last - first).days + 1):
        nine = datetime(first.year, first.month, first.day, 9, tzinfo=UTC) + timedelta(days=n)
        fleet.count(agent_id, nine, tokens(nine))


def set_budget(fleet: Fleet, tokens: int | None) -> None:
    """Set the budget over HTTP."""
    response = fleet.client.patch(ORGANIZATION, json={"monthlyTokenBudget": tokens}, headers=fleet.reader.bearer())
    assert response.status_code == 200


def month_of(fleet: Fleet, at: datetime) -> Any:
    """The month at an instant."""
    [[month]] = fleet.services.database.of(fleet.organization_id, at).run(call())
    return month


@pytest.fixture
def working(fleet: Fleet) -> Fleet:
    """Four weeks of workdays and weekends until yesterday; today has 40 tokens by noon."""
    every_day(fleet, date(2026, 3, 18), date(2026, 4, 15), lambda at: 40 if at.date() == NOON.date() else workdays(at))
    fleet.store()
    return fleet


def test_says_what_is_used_and_when_the_forecast_crosses(working: Fleet) -> None:
    set_budget(working, 2000)
    assert working.findings("budget") == [
        {
            "kind": "budget",
            "severity": "warning",
            "agentId": None,
            "agentName": None,
            "window": {"from": "2026-04-01T00:00:00.000000Z", "to": "2026-05-01T00:00:00.000000Z"},
            "observed": {"value": 1080, "unit": "tokens in the month"},
            "expected": {
                "value": 2000,
                "unit": "tokens in the month",
                "baseline": "the organization's budget of a month",
            },
            "agents": [],
            "agentCount": 0,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "1,080 of the month's budget of 2,000 tokens have been issued so far (54 %); the forecast is "
            "2,280, and the budget will be exceeded on Tuesday, 28 April 2026.",
            "causes": "There is more work than the budget was made for, or an agent asks for more tokens than it "
            "needs.",
            "next": "See which agents were issued the most this month, and whether other findings name them.",
        }
    ]


@pytest.mark.parametrize(
    ("budget", "severity", "outlook"),
    [
        (None, None, None),
        (2280, None, None),  # the forecast itself does not exceed it
        (2279, "warning", "the forecast is 2,280, and the budget will be exceeded on Thursday, 30 April 2026."),
        (1080, "warning", "the budget will be exceeded on Wednesday, 15 April 2026."),  # all of it, no more
        (1079, "critical", "of 1,079 tokens was exceeded on Wednesday, 15 April 2026: 1,080 (100.1 %) so far;"),
        (1039, "critical", "was exceeded on Tuesday, 14 April 2026: 1,080 (103.9 %) so far; the forecast is 2,280."),
        (1, "critical", "The month's budget of 1 token was exceeded on Wednesday, 1 April 2026: 1,080 (108,000 %)"),
    ],
)
def test_is_found_where_the_month_exceeds_the_budget(
    working: Fleet, budget: int | None, severity: str | None, outlook: str | None
) -> None:
    set_budget(working, budget)
    found = working.findings("budget")
    assert [one["severity"] for one in found] == [severity] * (severity is not None)
    assert outlook is None or outlook in found[0]["summary"]


def test_says_how_much_is_used_in_digits_however_much_that_is(fleet: Fleet) -> None:
    every_day(fleet, NOON.date(), NOON.date(), lambda at: 12_345_678)
    fleet.store()
    set_budget(fleet, 1)
    [found] = fleet.findings("budget")
    assert "12,345,678 (1,234,567,800 %) so far" in found["summary"]
    set_budget(fleet, 123)
    [found] = fleet.findings("budget")
    assert "(10,037,136.6 %)" in found["summary"]


@pytest.mark.parametrize(("used", "is_found"), [(799, False), (800, True)])
def test_is_near_from_80_percent_on_even_if_the_month_ends_within_it(
    fleet: Fleet, clock: Clock, used: int, is_found: bool
) -> None:
    clock.now = datetime(2026, 4, 30, 23, 59, tzinfo=UTC)
    every_day(fleet, date(2026, 4, 1), date(2026, 4, 1), lambda _: used)
    fleet.store()
    set_budget(fleet, 1000)
    summaries = [
        "800 of the month's budget of 1,000 tokens have been issued so far (80 %); "
        "the forecast is 800, within the budget."
    ]
    assert [one["summary"] for one in fleet.findings("budget")] == summaries * is_found


def test_the_first_week_does_not_warn_by_its_forecast_alone(fleet: Fleet, clock: Clock) -> None:
    every_day(fleet, date(2026, 4, 9), date(2026, 4, 16), lambda _: 100)
    fleet.store()
    set_budget(fleet, 1500)
    # The seventh day, and the first after a whole week.
    clock.now = NOON
    assert month_of(fleet, NOON).crosses_on == date(2026, 4, 24)
    assert fleet.findings("budget") == []
    clock.now = NOON + timedelta(days=1)
    assert [one["severity"] for one in fleet.findings("budget")] == ["warning"]


def test_is_critical_in_the_first_hour_of_use_once_it_is_exceeded(fleet: Fleet) -> None:
    every_day(fleet, NOON.date(), NOON.date(), lambda _: 101)
    fleet.store()
    set_budget(fleet, 100)
    assert [one["severity"] for one in fleet.findings("budget")] == ["critical"]


def at_noon(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "tokens", "forecast", "crosses_on"),
    [
        # So many workdays and weekend days have gone by, today with them, and so many has the month.
        (at_noon(2026, 4, 1), 100, 22 * 100 + 8 * 10, date(2026, 4, 15)),
        (at_noon(2026, 4, 30), 22 * 100 + 8 * 10, 22 * 100 + 8 * 10, date(2026, 4, 15)),
        (at_noon(2024, 2, 1), 100, 21 * 100 + 8 * 10, date(2024, 2, 15)),
        (at_noon(2024, 2, 29), 21 * 100 + 8 * 10, 21 * 100 + 8 * 10, date(2024, 2, 15)),
        (at_noon(2023, 2, 28), 20 * 100 + 8 * 10, 20 * 100 + 8 * 10, date(2023, 2, 15)),
        (at_noon(2025, 12, 1), 100, 23 * 100 + 8 * 10, date(2025, 12, 15)),
        (at_noon(2025, 12, 31), 23 * 100 + 8 * 10, 23 * 100 + 8 * 10, date(2025, 12, 15)),
    ],
    ids=str,
)
def test_knows_the_months_end_and_its_weekdays(
    fleet: Fleet, at: datetime, tokens: int, forecast: int, crosses_on: date
) -> None:
    every_day(fleet, at.date() - timedelta(days=60), at.date())
    fleet.store()
    budget = sum(workdays(at.replace(day=day)) for day in range(1, 15))
    set_budget(fleet, budget)
    month = month_of(fleet, at)
    assert (month.budget, month.tokens, month.forecast, month.crosses_on) == (budget, tokens, forecast, crosses_on)


@pytest.mark.parametrize("side", [timedelta(0), timedelta(days=1) - timedelta(microseconds=1)])
def test_the_forecast_is_there_without_a_budget_from_the_first_to_the_last_instant_of_a_day(
    working: Fleet, side: timedelta
) -> None:
    at = datetime(2026, 4, 15, tzinfo=UTC) + side
    month = month_of(working, at)
    assert (month.budget, month.tokens, month.forecast, month.crosses_on) == (None, 1080, 2280, None)


def test_today_counts_for_more_once_it_is_more_than_usual(fleet: Fleet) -> None:
    every_day(fleet, date(2026, 3, 18), date(2026, 4, 15), lambda at: 500 if at.date() == NOON.date() else 100)
    fleet.store()
    assert month_of(fleet, NOON).forecast == 14 * 100 + 500 + 15 * 100


def test_one_day_out_of_the_ordinary_changes_nothing_of_what_is_usual(fleet: Fleet) -> None:
    outliers: dict[date, int] = {date(2026, 3, 27): 0, date(2026, 3, 30): 9000}
    every_day(fleet, date(2026, 3, 18), date(2026, 4, 14), lambda at: outliers.get(at.date(), 100))
    fleet.store()
    assert month_of(fleet, NOON).forecast == 30 * 100


def test_what_is_more_than_four_weeks_past_changes_nothing(fleet: Fleet) -> None:
    # Wednesdays only. Excluded: 11 March; with it, or without the 18th, the median were 100.
    days = {(3, 11): 0, (3, 18): 300, (3, 25): 300, (4, 1): 100, (4, 8): 100}
    every_day(fleet, date(2026, 3, 11), date(2026, 4, 14), lambda at: days.get((at.month, at.day), 0))
    fleet.store()
    assert month_of(fleet, NOON).forecast == 2 * 100 + 3 * 200


def test_a_young_organization_extrapolates_its_mean_day(fleet: Fleet) -> None:
    # Monday and Tuesday; today, its first Wednesday, has 20 so far.
    days = {date(2026, 4, 13): 100, date(2026, 4, 14): 40, date(2026, 4, 15): 20}
    every_day(fleet, date(2026, 4, 13), date(2026, 4, 15), lambda at: days[at.date()])
    fleet.store()
    # 15 to 30 April: two Mondays, two Tuesdays, and twelve other days.
    assert month_of(fleet, NOON).forecast == 140 + 2 * 100 + 2 * 40 + 12 * 70


def test_on_its_first_day_an_organization_extrapolates_that(fleet: Fleet) -> None:
    every_day(fleet, NOON.date(), NOON.date(), lambda _: 20)
    fleet.store()
    assert month_of(fleet, NOON).forecast == 16 * 20


def test_an_organization_without_usage_has_a_month_and_no_finding(fleet: Fleet) -> None:
    for budget in (None, 1):
        set_budget(fleet, budget)
        month = month_of(fleet, NOON)
        assert (month.budget, month.tokens, month.forecast, month.crosses_on) == (budget, 0, 0, None)
        assert fleet.findings("budget") == []


@REFUSED_BY_CITUS
def test_several_rows_of_a_day_are_one_day(working: Fleet) -> None:
    before = month_of(working, NOON)
    with database_of(working.services, working.organization_id).transaction() as transaction:
        transaction._connection.execute(
            "with moved as (update usage_daily set tokens = tokens - 7 where tokens >= 10 returning *) "
            "insert into usage_daily select organization_id, day, 5, 7, tokens_by_hour, requests_by_hour, "
            "rejected_by_hour from moved"
        )
    assert month_of(working, NOON) == before


def test_another_organization_changes_nothing(working: Fleet, outsiders: Fleet) -> None:
    set_budget(working, 2000)
    before = working.findings()
    every_day(outsiders, date(2026, 3, 1), NOON.date(), lambda _: 10**6)
    outsiders.store()
    set_budget(outsiders, 5)
    assert working.findings() == before
    assert [one["severity"] for one in outsiders.findings("budget")] == ["critical"]
