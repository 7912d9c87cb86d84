"""``peak``: the busiest hours of the week, and the requests a minute that they imply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import NOON, Clock
from tests.findings.conftest import Fleet, amounts, body, window

TODAY = datetime(2026, 4, 15, tzinfo=UTC)
"""A Wednesday."""


def days_ago(days: int, hour: int = 0) -> datetime:
    return TODAY - timedelta(days=days) + timedelta(hours=hour)


def test_names_the_three_busiest_hours_and_the_greatest_that_was_seen(fleet: Fleet) -> None:
    one, other = fleet.agent("one"), fleet.agent("other")
    for weeks in range(4):
        # Tuesday at 14:00, Monday at 9:00 and Sunday at 23:00.
        fleet.count(one, days_ago(1 + 7 * weeks, 14), 5, requests=595)
        fleet.count(other, days_ago(1 + 7 * weeks, 14), requests=[0, 1800, 0, 0][weeks])
        fleet.count(one, days_ago(2 + 7 * weeks, 9), requests=500)
        fleet.count(one, days_ago(3 + 7 * weeks, 23), requests=400)
        fleet.count(one, days_ago(4 + 7 * weeks, 8), requests=300)
    # The greatest of all, but once in four weeks. Excluded: today, and what is more than four weeks past.
    fleet.count(one, days_ago(10, 3), requests=1501)
    fleet.count(one, NOON, requests=9000)
    fleet.count(one, days_ago(29, 23), requests=9000)
    fleet.store()
    mean = (4 * (600 + 500 + 400 + 300) + 1800 + 1501) / (28 * 24)
    assert fleet.findings("peak") == [
        body(
            "peak",
            "info",
            window=window("2026-03-18T00:00", "2026-04-15T00:00"),
            **amounts(40, round(mean / 60, 1), "requests a minute", "the mean over all hours of the window"),
            summary="The busiest hour of the week is Tuesday 14:00-15:00 UTC, with 1,050 requests on average "
            "(17.5 a minute). The most in one hour were 2,400, at 14:00-15:00 UTC on Tuesday, 7 April 2026.",
            causes="Next are Monday 09:00-10:00 UTC and Sunday 23:00-24:00 UTC. This is how the fleet works: its "
            "agents are busy at the same time, or start at the same minute.",
            next="Leave headroom above the most that was seen: within an hour requests are not spread evenly.",
        )
    ]


@pytest.mark.parametrize(("days", "requests", "is_found"), [(6, 60, False), (7, 60, True), (8, 59, False)])
def test_is_found_after_a_week_with_a_request_a_minute(fleet: Fleet, days: int, requests: int, is_found: bool) -> None:
    fleet.count(fleet.agent("worker"), days_ago(days, 14), requests=requests)
    fleet.store()
    assert len(fleet.findings("peak")) == is_found


def test_the_average_is_of_the_weekdays_that_there_were(fleet: Fleet) -> None:
    worker = fleet.agent("worker")
    # Eight days: two Tuesdays, of which one had requests, and one Wednesday.
    fleet.count(worker, days_ago(8, 14), requests=100)
    fleet.count(worker, days_ago(7, 14), requests=90)
    fleet.store()
    [found] = fleet.findings("peak")
    assert found["window"]["from"] == "2026-04-07T00:00:00.000000Z"
    assert found["summary"].startswith(
        "The busiest hour of the week is Wednesday 14:00-15:00 UTC, with 90 requests on average (1.5 a minute). "
        "The most in one hour were 100, at"
    )
    assert found["causes"].startswith("Next is Tuesday 14:00-15:00 UTC. ")


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        (datetime(2026, 4, 15, 23, 59, 59, 999_999, tzinfo=UTC), "2026-03-18"),
        (datetime(2024, 3, 28, tzinfo=UTC), "2024-02-29"),
    ],
    ids=str,
)
def test_reads_four_weeks_of_whole_days(fleet: Fleet, clock: Clock, now: datetime, begins: str) -> None:
    clock.now = now
    worker = fleet.agent("worker")
    first = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    # Excluded: the last hour before the first day, and the first one of today.
    fleet.count(worker, first - timedelta(hours=1), requests=9000)
    fleet.count(worker, first, requests=240)
    fleet.count(worker, first + timedelta(days=28), requests=9000)
    fleet.store()
    [found] = fleet.findings("peak")
    assert found["window"]["from"][:10] == begins
    assert found["observed"]["value"] == 4
    assert f"The busiest hour of the week is {first:%A} 00:00-01:00 UTC, with 60 requests" in found["summary"]
