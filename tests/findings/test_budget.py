"""``budget``: what the month has cost, and where it will end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from agentidp.findings.budget import build_call, compute_findings
from tests.factories import NOON
from tests.findings.conftest import Fleet, amounts, body, build_query, window


def workdays(at: datetime) -> int:
    """100 tokens on a workday, 10 at the weekend."""
    return 100 if at.weekday() < 5 else 10


def every_day(fleet: Fleet, first: date, last: date, tokens: Callable[[datetime], int] = workdays) -> None:
    """Count ``tokens(day)`` on each day from *first* to *last*, and store it."""
    agent_id = fleet.agent("worker")
    for n in range((last - first).days + 1):
        nine = datetime(first.year, first.month, first.day, 9, tzinfo=UTC) + timedelta(days=n)
        fleet.count(agent_id, nine, tokens(nine))
    fleet.store()


def month_of(fleet: Fleet, at: datetime) -> Any:
    """The month at an instant."""
    [[month]] = fleet.services.database.of(fleet.organization_id, at).run(build_call())
    return month


@pytest.fixture
def working(fleet: Fleet) -> Fleet:
    """Four weeks of workdays and weekends until yesterday; today has 40 tokens by noon."""
    every_day(fleet, date(2026, 3, 18), date(2026, 4, 15), lambda at: 40 if at.date() == NOON.date() else workdays(at))
    return fleet


def test_says_what_is_used_and_when_the_forecast_crosses(working: Fleet) -> None:
    assert working.api.patch("organization", {"monthlyTokenBudget": 2000}).status_code == 200
    [worker] = working.usage
    assert working.findings("budget") == [
        body(
            "budget",
            "warning",
            window=window("2026-04-01T00:00", "2026-05-01T00:00"),
            **amounts(1080, 2000, "tokens in the month", "the organization's monthly budget"),
            summary="The month's budget of 2,000 tokens will be exceeded on Tuesday, 28 April 2026: 1,080 (54 %) "
            "so far; the forecast is 2,280. "
            "worker was issued 1,080 of the 1,080 tokens (100 %).",
            agents=[{"agentId": str(worker), "agentName": "worker", "count": 1080}],
            agentCount=1,
            # What another finding knows of the worker.
            causes="worker was issued 240 tokens on 3 days; it needed 3. It asks for a new token before each call "
            "instead of keeping the one that it has, or very many instances of it run.",
            next="Make it keep its token for the 3600 seconds of expires_in, which would have saved 237 tokens. If its "
            "instances are short-lived, let them share one. If many instances run, declare how many: agentidp agent "
            "update --expected-replicas.",
        )
    ]


def a_month(**changes: Any) -> Any:
    """A row of the statement: a month of which half of the budget is used, and no more will be."""
    values = {
        "budget": 1000,
        "tokens": 500,
        "forecast": 800,
        "crosses_on": None,
        "near_on": None,
        "days_of_history": 7,
        "month_begins": date(2026, 4, 1),
        "month_ends": date(2026, 5, 1),
    }
    return SimpleNamespace(**(values | changes))


CROSSES = {"crosses_on": date(2026, 4, 14)}
ON = "on Tuesday, 14 April 2026"


@pytest.mark.parametrize(
    ("month", "severity", "summary"),
    [
        ({}, None, None),
        ({"budget": None}, None, None),
        # Near from 80 % on, even if the month ends within it.
        ({"tokens": 799}, None, None),
        ({"tokens": 800}, "warning", "is nearly used: 800 (80 %) so far; the forecast is 800."),
        # The first week does not warn by its forecast alone.
        (CROSSES | {"days_of_history": 6}, None, None),
        (CROSSES, "warning", f"will be exceeded {ON}: 500 (50 %) so far; the forecast is 800."),
        # All of it, and no more.
        (CROSSES | {"tokens": 1000, "days_of_history": 0}, "warning", f"will be exceeded {ON}: 1,000 (100 %)"),
        (
            CROSSES | {"tokens": 1001, "days_of_history": 0},
            "critical",
            f"The month's budget of 1,000 tokens was exceeded {ON}: 1,001 (100.1 %) so far; the forecast is 800.",
        ),
        # In digits, however much that is.
        (CROSSES | {"budget": 1, "tokens": 12_345_678}, "critical", "12,345,678 (1,234,567,800 %) so far"),
        (CROSSES | {"budget": 123, "tokens": 12_345_678}, "critical", "(10,037,136.6 %)"),
        ({"budget": 1, "tokens": 1}, "warning", "The month's budget of 1 token is used up: 1 (100 %)"),
    ],
)
def test_is_reported(month: dict[str, Any], severity: str | None, summary: str | None) -> None:
    query = build_query()
    computed = compute_findings([a_month(**month)], query)
    assert [finding.severity.name for finding in computed] == [severity] * (severity is not None)
    assert summary is None or summary in computed[0].summary


@pytest.mark.parametrize(
    ("month", "since"),
    [
        (CROSSES, date(2026, 4, 1)),
        (CROSSES | {"tokens": 800, "near_on": date(2026, 4, 10)}, date(2026, 4, 10)),
        (CROSSES | {"tokens": 1001, "near_on": date(2026, 4, 10)}, date(2026, 4, 14)),
    ],
)
def test_is_so_since_the_day_on_which_the_budget_was_near_or_exceeded(month: dict[str, Any], since: date) -> None:
    [finding] = compute_findings([a_month(**month)], build_query())
    assert finding.represent()["since"] == f"{since}T00:00:00.000000Z"


def at_noon(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "tokens", "forecast", "crosses_on"),
    [
        # So many workdays and weekend days have gone by, today with them, and so many has the month.
        (at_noon(2026, 4, 1), 100, 22 * 100 + 8 * 10, date(2026, 4, 15)),
        (at_noon(2024, 2, 29), 21 * 100 + 8 * 10, 21 * 100 + 8 * 10, date(2024, 2, 15)),
        (at_noon(2025, 12, 1), 100, 23 * 100 + 8 * 10, date(2025, 12, 15)),
    ],
    ids=str,
)
def test_knows_the_months_end_and_its_weekdays(
    fleet: Fleet, at: datetime, tokens: int, forecast: int, crosses_on: date
) -> None:
    every_day(fleet, at.date() - timedelta(days=60), at.date())
    budget = sum(workdays(at.replace(day=day)) for day in range(1, 15))
    assert fleet.api.patch("organization", {"monthlyTokenBudget": budget}).status_code == 200
    month = month_of(fleet, at)
    assert (month.budget, month.tokens, month.forecast, month.crosses_on) == (budget, tokens, forecast, crosses_on)
    # 80 % of it were used before that.
    assert month.near_on < month.crosses_on


@pytest.mark.parametrize("side", [timedelta(0), timedelta(days=1) - timedelta(microseconds=1)])
def test_the_forecast_is_there_without_a_budget_from_the_first_to_the_last_instant_of_a_day(
    working: Fleet, side: timedelta
) -> None:
    at = datetime(2026, 4, 15, tzinfo=UTC) + side
    month = month_of(working, at)
    assert (month.budget, month.tokens, month.forecast, month.crosses_on) == (None, 1080, 2280, None)
    assert month.days_of_history == 28


OUTLIERS = {date(2026, 3, 27): 0, date(2026, 3, 30): 9000}
# Excluded: 11 March; with it, or without the 18th, the median were 100.
WEDNESDAYS = {(3, 11): 0, (3, 18): 300, (3, 25): 300, (4, 1): 100, (4, 8): 100}
# Monday and Tuesday; today, its first Wednesday, has 20 so far.
YOUNG = {date(2026, 4, 13): 100, date(2026, 4, 14): 40, date(2026, 4, 15): 20}


@pytest.mark.parametrize(
    ("first", "last", "tokens", "forecast"),
    [
        # Today counts for more once it is more than usual.
        (date(2026, 3, 18), NOON.date(), lambda at: 500 if at.date() == NOON.date() else 100, 14 * 100 + 500 + 1500),
        # One day out of the ordinary changes nothing of what is usual.
        (date(2026, 3, 18), date(2026, 4, 14), lambda at: OUTLIERS.get(at.date(), 100), 30 * 100),
        # Nor does what is more than four weeks past.
        (date(2026, 3, 11), date(2026, 4, 14), lambda at: WEDNESDAYS.get((at.month, at.day), 0), 2 * 100 + 3 * 200),
        # A young organization extrapolates its mean day: two Mondays, two Tuesdays, and twelve other days are left.
        (date(2026, 4, 13), NOON.date(), lambda at: YOUNG[at.date()], 140 + 2 * 100 + 2 * 40 + 12 * 70),
        # So it does on its first day.
        (NOON.date(), NOON.date(), lambda _: 20, 16 * 20),
    ],
)
def test_each_day_that_is_left_has_what_is_usual_on_its_weekday(
    fleet: Fleet, first: date, last: date, tokens: Callable[[datetime], int], forecast: int
) -> None:
    every_day(fleet, first, last, tokens)
    assert month_of(fleet, NOON).forecast == forecast
