"""``zero_day``: a day without issuance amid active ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet

MONDAY = datetime(2026, 4, 13, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)
DAY = timedelta(days=1)


def work(fleet: Fleet, tokens: Callable[[datetime], int], weeks: int = 10, ends: datetime = NOON) -> None:
    """Count ``tokens(day)`` at nine o'clock of each day of the last *weeks*, up to *ends*; store it."""
    agent, begins = fleet.agent("worker"), ends.replace(hour=9) - timedelta(weeks=weeks)
    for days in range(weeks * 7 + 1):
        at = begins + days * DAY
        if tokens(at):
            fleet.count(agent, at, tokens(at))
    fleet.store()


def windows(fleet: Fleet, **query: int) -> list[tuple[str, str]]:
    """From which day to before which one each is found."""
    return [(one["window"]["from"][:10], one["window"]["to"][:10]) for one in fleet.findings("zero_day", **query)]


def is_on(*days: datetime) -> Callable[[datetime], bool]:
    """Whether an instant is on one of *days*."""
    return lambda at: at.date() in {day.date() for day in days}


def test_names_the_day_and_what_is_usual_on_its_weekday(fleet: Fleet) -> None:
    work(fleet, lambda at: 0 if is_on(TUESDAY)(at) else 1240 if at.weekday() == 1 else 900)
    assert fleet.findings("zero_day") == [
        {
            "kind": "zero_day",
            "severity": "warning",
            "agentId": None,
            "agentName": None,
            "window": {"from": "2026-04-14T00:00:00.000000Z", "to": "2026-04-15T00:00:00.000000Z"},
            "observed": {"value": 0, "unit": "tokens a day"},
            "expected": {
                "value": 1240,
                "unit": "tokens a day",
                "baseline": "the median of the same weekday in up to 8 weeks before",
            },
            "agents": [],
            "agentCount": 0,
            "credentialId": None,
            "alsoSeenAs": [],
            "summary": "No token was issued on Tuesday, 14 April 2026; typically 1,240 are issued a day.",
            "causes": "A deployment that broke issuance, or an outage of the service or of all agents; where nobody"
            " works on a public holiday, that.",
            "next": "See what was deployed or changed at its beginning, and the service's log of that time.",
        }
    ]


def test_days_in_a_row_are_one_finding_also_across_a_weekend_of_rest(fleet: Fleet) -> None:
    friday = MONDAY - 3 * DAY
    work(fleet, lambda at: 0 if at.weekday() > 4 or is_on(friday, MONDAY)(at) else 100 if at.weekday() else 300)
    [one] = fleet.findings("zero_day")
    assert one["window"] == {"from": "2026-04-10T00:00:00.000000Z", "to": "2026-04-14T00:00:00.000000Z"}
    assert one["expected"]["value"] == 200
    assert one["summary"] == (
        "No token was issued from Friday, 10 April 2026 to Monday, 13 April 2026; typically 200 are issued a day."
    )


def test_a_few_tokens_between_two_zero_days_part_them(fleet: Fleet) -> None:
    sunday, friday = MONDAY - DAY, MONDAY - 3 * DAY
    work(fleet, lambda at: 1 if is_on(sunday)(at) else 0 if at.weekday() > 4 or is_on(friday, MONDAY)(at) else 100)
    assert windows(fleet) == [("2026-04-13", "2026-04-14"), ("2026-04-10", "2026-04-11")]


def test_a_weekend_of_an_organization_that_rests_is_none(fleet: Fleet) -> None:
    work(fleet, lambda at: 100 * (at.weekday() < 5))
    assert windows(fleet, days=30) == []


def test_a_weekend_of_one_that_does_not_rest_is(fleet: Fleet) -> None:
    work(fleet, lambda at: 100 * (not is_on(MONDAY - 2 * DAY, MONDAY - DAY)(at)))
    assert windows(fleet) == [("2026-04-11", "2026-04-13")]


def test_today_is_not_over(fleet: Fleet) -> None:
    work(fleet, lambda at: 100 * (not is_on(NOON)(at)))
    assert windows(fleet) == []


def test_is_found_with_the_days_end(fleet: Fleet, clock: Clock) -> None:
    work(fleet, lambda at: 100 * (not is_on(NOON)(at)))
    clock.now = datetime(2026, 4, 15, 23, 59, 59, 999999, tzinfo=UTC)
    assert windows(fleet) == []
    clock.now = datetime(2026, 4, 16, tzinfo=UTC)
    assert windows(fleet) == [("2026-04-15", "2026-04-16")]


@pytest.mark.parametrize(("days", "is_found"), [(2, False), (3, True)])
def test_is_looked_for_within_the_days_asked_for(fleet: Fleet, days: int, is_found: bool) -> None:
    work(fleet, lambda at: 100 * (not is_on(MONDAY)(at)))
    assert windows(fleet, days=days) == [("2026-04-13", "2026-04-14")] * is_found


@pytest.mark.parametrize(("weeks", "is_found"), [(1, False), (2, False), (3, True)])
def test_an_organization_has_three_weeks_before_it_is_judged(fleet: Fleet, weeks: int, is_found: bool) -> None:
    # Its first day is a Tuesday; so is the empty one.
    work(fleet, lambda at: 100 * (TUESDAY - weeks * 7 * DAY <= at) * (not is_on(TUESDAY)(at)))
    assert windows(fleet, days=28) == [("2026-04-14", "2026-04-15")] * is_found


@pytest.mark.parametrize(("tokens", "is_found"), [(19, False), (20, True)])
def test_few_tokens_may_be_missing_by_chance(fleet: Fleet, tokens: int, is_found: bool) -> None:
    work(fleet, lambda at: tokens * (not is_on(MONDAY)(at)))
    assert windows(fleet) == [("2026-04-13", "2026-04-14")] * is_found


def test_what_is_typical_is_the_median_of_eight_weeks(fleet: Fleet) -> None:
    def tokens(at: datetime) -> int:
        weeks = (MONDAY.date() - at.date()).days / 7
        # Excluded: the ninth week before. Of the eight, four have none.
        return 1000 if weeks == 9 else 0 if weeks in (0, 1, 3, 5, 7) else 100

    work(fleet, tokens)
    assert windows(fleet) == []


def test_one_busy_week_more_makes_it_usual(fleet: Fleet) -> None:
    work(fleet, lambda at: 0 if (MONDAY.date() - at.date()).days / 7 in (0, 1, 3, 5) else 100)
    assert windows(fleet) == [("2026-04-13", "2026-04-14")]


@pytest.mark.parametrize(
    ("day", "is_leap"), [(datetime(2028, 2, 29, tzinfo=UTC), True), (datetime(2026, 3, 1, tzinfo=UTC), False)]
)
def test_the_leap_day_and_a_months_first_day_are_days_like_any_other(
    fleet: Fleet, clock: Clock, day: datetime, is_leap: bool
) -> None:
    clock.now = now = day + 1.5 * DAY
    work(fleet, lambda at: 100 * (not is_on(day)(at)), ends=now)
    [one] = fleet.findings("zero_day")
    assert one["window"]["from"] == f"{day:%Y-%m-%d}T00:00:00.000000Z"
    assert one["window"]["to"] == ("2028-03-01" if is_leap else "2026-03-02") + "T00:00:00.000000Z"


def test_requests_and_rejections_are_no_tokens(fleet: Fleet) -> None:
    agent = fleet.agent("refused")
    fleet.count(agent, TUESDAY, requests=50, rejected=50)
    work(fleet, lambda at: 100 * (not is_on(TUESDAY)(at)))
    assert windows(fleet) == [("2026-04-14", "2026-04-15")]


def test_a_single_token_in_the_days_last_hour_makes_it_none(fleet: Fleet) -> None:
    fleet.count(fleet.agent("late"), TUESDAY.replace(hour=23), 1)
    work(fleet, lambda at: 100 * (not is_on(TUESDAY)(at)))
    assert windows(fleet) == []


def test_slots_are_added_up(fleet: Fleet) -> None:
    # Two slots of 10 tokens make a Monday usual; one of them alone would not.
    work(fleet, lambda at: 10 * (not is_on(MONDAY)(at)))
    assert windows(fleet) == []
    fleet.store_in_another_slot()
    assert windows(fleet) == [("2026-04-13", "2026-04-14")]


def test_nothing_is_found_where_nothing_was_ever_issued(fleet: Fleet) -> None:
    assert windows(fleet, days=90) == []


def test_another_organizations_days_change_nothing(fleet: Fleet, outsiders: Fleet) -> None:
    work(fleet, lambda at: 100 * (not is_on(MONDAY)(at)))
    before = fleet.findings()
    work(outsiders, lambda at: 5000 * (not is_on(TUESDAY)(at)))
    assert fleet.findings() == before
    assert windows(outsiders) == [("2026-04-14", "2026-04-15")]
