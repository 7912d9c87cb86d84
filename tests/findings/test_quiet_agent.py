"""Whether an agent is silent, on plain lists of its requests by the hour."""

from __future__ import annotations

import pytest

from agentidp.findings.history import DAY, WEEK
from agentidp.findings.quiet_agent import Silence, find_silence, find_silence_by_days, is_workday


def office(hours: int) -> list[int]:
    """Return the counts of an agent that works from Monday to Friday, 8:00 to 20:00. Hour 0 is on a Monday."""
    return [3 * (hour // DAY % 7 < 5 and 8 <= hour % DAY < 20) for hour in range(hours)]


@pytest.mark.parametrize(("hours", "is_silent"), [(3, False), (4, True)])
def test_an_agent_that_works_around_the_clock_is_silent_after_four_hours(hours: int, is_silent: bool) -> None:
    counts = [3] * (10 * WEEK) + [0] * hours + [0]
    expected = Silence(10 * WEEK, 4, "hours") if is_silent else None
    assert find_silence(counts, (), ()) == expected


def test_hours_and_days_in_which_the_organization_was_quiet_say_nothing() -> None:
    counts = [3] * (10 * WEEK) + [0] * 5
    assert find_silence(counts, [10 * WEEK], ()) is None
    days = office(10 * WEEK + 3) + [0] * (3 * WEEK)
    assert find_silence(days, (), ())
    assert find_silence(days, (), range(70, 91)) is None


@pytest.mark.parametrize(("days", "is_silent"), [(3, False), (4, True)])
def test_an_agent_that_rests_and_stopped_in_the_evening_is_silent_after_four_days(days: int, is_silent: bool) -> None:
    # Its last day is a Friday or a Sunday of an agent that rests on no other day.
    worked = [int(hour % DAY in (8, 9, 10) and hour // DAY % 7 != 6) for hour in range(10 * WEEK - DAY)]
    counts = worked + [0] * DAY + [0] * (days * DAY + 1)
    findings = find_silence_by_days(counts, 10 * WEEK - DAY - 14, 8, ())
    assert (findings is not None) is is_silent
    assert findings is None or findings.expected == days


@pytest.mark.parametrize(("quiet", "is_silent"), [(1, True), (2, False)])
def test_an_agent_that_rests_on_two_days_of_two_weeks_needs_more_than_three_days(quiet: int, is_silent: bool) -> None:
    counts = [3 * (8 <= hour % DAY < 11) for hour in range(10 * WEEK)]
    for day in range(quiet):
        counts[(60 + day) * DAY : (61 + day) * DAY] = [0] * DAY
    counts += [0] * (3 * DAY + 1)
    assert bool(find_silence_by_days(counts, 10 * WEEK - DAY + 10, 8, ())) is is_silent


@pytest.mark.parametrize(
    ("days", "hours", "is_silent"),
    [
        ([35], 4, True),
        ([35, 44], 6, False),
        ([35, 44], 7, True),
        # More than eight weeks before.
        ([6, 8], 4, True),
    ],
)
def test_an_agent_is_silent_after_more_than_twice_its_second_longest_pause(
    days: list[int], hours: int, is_silent: bool
) -> None:
    counts = [3] * (10 * WEEK)
    for day in days:
        counts[day * DAY + 16 : day * DAY + 19] = [0] * 3
    assert bool(find_silence([*counts, *[0] * hours, 0], (), ())) is is_silent


def test_a_holiday_begins_with_rest() -> None:
    # From 14:00 to 04:00, from Monday to Friday by its own clock; silent from a Thursday on, and judged on Saturday.
    def works(hour: int) -> bool:
        local = hour - 6
        return local // DAY % 7 < 5 and 8 <= local % DAY < 22

    ends = 10 * WEEK + 3 * DAY
    counts = [3 * (works(hour) and hour <= ends + 3) for hour in range(ends + 2 * DAY + 1)]
    assert find_silence(counts, (), ()) is None


@pytest.mark.parametrize(("requests", "is_day"), [(49, False), (50, True)])
def test_a_working_day_has_half_of_the_busiest_weekdays_requests(requests: int, is_day: bool) -> None:
    assert is_workday([requests, 0], [[60, 40], [requests, 0]]) is is_day


@pytest.mark.parametrize(("requests", "is_silent"), [(8, False), (9, True)])
def test_an_agent_that_hardly_worked_before_it_stopped_is_judged_by_days(requests: int, is_silent: bool) -> None:
    # On a Wednesday; it works from 8:00 to 20:00 with 3 requests an hour, and stops at 14:00.
    begins = 9 * WEEK + 2 * DAY
    counts = [*office(begins), *[0] * 8, requests - 5, *[1] * 5, *[0] * 7]
    assert bool(find_silence(counts, (), ())) is is_silent
