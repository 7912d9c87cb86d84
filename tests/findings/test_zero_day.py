"""``zero_day``: a day without issuance amid active ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet, Lists, Usage, amounts, body, window

FRIDAY, SATURDAY, SUNDAY, MONDAY, TUESDAY = (date(2026, 4, day) for day in range(10, 15))
DAY = timedelta(days=1)


def work(usage: Usage, tokens: Callable[[date], int], weeks: int = 10, ends: datetime = NOON) -> None:
    """Count ``tokens(day)`` at nine o'clock of each day of the last *weeks*, up to *ends*."""
    agent, begins = usage.agent("worker"), ends.replace(hour=9) - timedelta(weeks=weeks)
    usage.work(agent, begins, ends, lambda at: tokens(at.date()) if at.hour == 9 else 0)


def shown(lists: Lists, **query: Any) -> list[tuple[int, int, float]]:
    """From which day of April to before which one each is found, and the typical tokens."""
    return [(one.begins.day, one.ends.day, one.expected) for one in lists.findings("zero_day", **query)]


def without(*days: date, tokens: int = 100, weekend: int | None = None) -> Callable[[date], int]:
    """So many tokens on each day, and others at the weekend, but for some days."""
    return lambda day: 0 if day in days else weekend if weekend is not None and day.weekday() > 4 else tokens


def weeks_without(*weeks: int) -> Callable[[date], int]:
    """Nothing on Monday, nor so many weeks before it; and more nine weeks before it than on other days."""

    def tokens(day: date) -> int:
        ago = (MONDAY - day).days / 7
        return 1000 if ago == 9 else 0 if ago in (0, *weeks) else 100

    return tokens


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (without(SATURDAY, SUNDAY), [(11, 13, 100)]),
        # Across a weekend of rest they are in a row, and across one with a token they are not.
        (without(FRIDAY, MONDAY, weekend=0), [(10, 14, 100)]),
        (lambda day: 1 if day == SUNDAY else without(FRIDAY, MONDAY, weekend=0)(day), [(13, 14, 100), (10, 11, 100)]),
        (without(weekend=0), []),
        # Today is not over.
        (without(NOON.date()), []),
        # Few tokens may be missing by chance.
        (without(MONDAY, tokens=19), []),
        (without(MONDAY, tokens=20), [(13, 14, 20)]),
        # The median of eight weeks; the ninth does not count.
        (weeks_without(1, 3, 5, 7), []),
        (weeks_without(1, 3, 5), [(13, 14, 100)]),
        (without(*(MONDAY - week * 7 * DAY for week in range(20))), []),
        (lambda _: 0, []),
    ],
)
def test_is_a_day_without_a_token_amid_active_ones(
    lists: Lists, tokens: Callable[[date], int], found: list[tuple[int, int, float]]
) -> None:
    work(lists, tokens)
    assert shown(lists) == found


def test_what_is_typical_of_several_days_is_their_mean(lists: Lists) -> None:
    work(lists, lambda day: 0 if day in (FRIDAY, MONDAY) or day.weekday() > 4 else 100 if day.weekday() else 300)
    [one] = lists.findings("zero_day")
    assert one.expected == 200
    assert one.summary == (
        "No token was issued from Friday, 10 April 2026 to Monday, 13 April 2026; typically 200 are issued a day."
    )


@pytest.mark.parametrize(("weeks", "is_found"), [(2, False), (3, True)])
def test_an_organization_has_three_weeks_before_it_is_judged(lists: Lists, weeks: int, is_found: bool) -> None:
    # Its first day is a Tuesday; so is the empty one.
    work(lists, lambda day: 100 * (TUESDAY - weeks * 7 * DAY <= day != TUESDAY))
    assert len(lists.findings("zero_day", days=28)) == is_found


@pytest.mark.parametrize(("days", "is_found"), [(2, False), (3, True)])
def test_is_looked_for_within_the_days_asked_for(lists: Lists, days: int, is_found: bool) -> None:
    work(lists, without(MONDAY))
    assert len(lists.findings("zero_day", days=days)) == is_found


def test_names_the_day_and_what_is_usual_on_its_weekday(fleet: Fleet) -> None:
    work(fleet, lambda day: 0 if day == TUESDAY else 1240 if day.weekday() == 1 else 900)
    # Neither is a token.
    fleet.count(fleet.agent("refused"), NOON - DAY, requests=50, rejected=50)
    fleet.store()
    assert fleet.findings("zero_day") == [
        body(
            "zero_day",
            "warning",
            window=window("2026-04-14T00:00", "2026-04-15T00:00"),
            **amounts(0, 1240, "tokens a day", "the median of the same weekday in up to 8 weeks before"),
            summary="No token was issued on Tuesday, 14 April 2026; typically 1,240 are issued a day.",
            causes="A deployment that broke issuance, or an outage of the service or of all agents; where nobody works "
            "on a public holiday, that.",
            next="See what was deployed or changed at its beginning, and the service's log of that time.",
        )
    ]


@pytest.mark.parametrize(
    ("now", "is_found"),
    [(datetime(2026, 4, 15, 23, 59, 59, 999999, tzinfo=UTC), False), (datetime(2026, 4, 16, tzinfo=UTC), True)],
)
def test_is_found_with_the_days_end(fleet: Fleet, clock: Clock, now: datetime, is_found: bool) -> None:
    work(fleet, without(NOON.date()))
    # The last hour of the day before, and the first of the next.
    fleet.count(fleet.agent("late"), NOON.replace(hour=23) - DAY, 1)
    fleet.count(fleet.agent("early"), NOON.replace(hour=0) + DAY, 1)
    fleet.store()
    clock.now = now
    assert len(fleet.findings("zero_day")) == is_found
