"""When an organization, or part of it, was quiet: on plain lists of active agents by the hour."""

from __future__ import annotations

import pytest

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.quiet_organization import (
    find_busy_hours,
    find_group_stops,
    find_quiet_times,
    find_runs_of_quiet_hours,
    has_stopped,
    is_unlikely,
    is_working,
)

LENGTH = 10 * WEEK


def test_what_is_typical_is_the_median_of_the_hour_of_the_week_in_eight_weeks() -> None:
    active = [week for week in range(1, 11) for _ in range(WEEK)]
    hour = len(active) - 2
    assert find_busy_hours(active, hour) == {hour: 5}
    # Before the first active hour nothing is known, and with two weeks of it too little.
    assert find_busy_hours([0] * (7 * WEEK) + active[7 * WEEK :], hour) == {}
    assert find_busy_hours([0] * (6 * WEEK) + active[6 * WEEK :], hour) == {hour: 8}


def test_an_hour_is_busy_if_two_agents_are_usually_active_and_quiet_with_fewer_than_half_of_them() -> None:
    active = [(1, 2, 4, 4, 4, 4)[hour % 6] for hour in range(LENGTH)]
    active[-6:] = [0, 1, 2, 1, 0, 0]
    busy = find_busy_hours(active, LENGTH - 6)
    # The first has one agent, and the last still runs.
    assert busy == {LENGTH - 5: 2, LENGTH - 4: 4, LENGTH - 3: 4, LENGTH - 2: 4}
    assert find_runs_of_quiet_hours(active, busy) == [[LENGTH - 3, LENGTH - 2]]


def test_quiet_hours_are_unlikely_together() -> None:
    assert thresholds.MIN_EVIDENCE_ORGANIZATION == 8
    # No active agent where four are usual is as likely as e^-4, and three where eight are usual as e^-2.06.
    assert is_unlikely([0, 1], [0, 0], {0: 4, 1: 4})
    assert not is_unlikely([0], [0, 0], {0: 4, 1: 4})
    eight = dict.fromkeys(range(4), 8)
    assert is_unlikely([0, 1, 2, 3], [3] * 4, eight)
    assert not is_unlikely([0, 1, 2], [3] * 4, eight)
    assert not is_unlikely([0, 1, 2, 3], [8] * 4, eight)


@pytest.mark.parametrize(("active", "is_work"), [([], False), ([0, 3], False), ([4, 0], True)])
def test_two_thirds_of_the_usual_agents_are_at_work(active: list[int], is_work: bool) -> None:
    assert is_working(active, 6) is is_work


@pytest.mark.parametrize(("back", "lasts"), [(0, True), (5, False)])
def test_a_quiet_time_lasts_while_the_agents_are_not_back(back: int, lasts: bool) -> None:
    active = [6] * LENGTH
    active[-8:] = [0] * 5 + [back] * 3
    [finding] = find_quiet_times(active, find_busy_hours(active, LENGTH - DAY), ())
    ends = LENGTH if lasts else LENGTH - 3
    assert (finding.begins, finding.ends) == (LENGTH - 8, ends)
    assert (finding.expected, finding.observed) == (6 * (7 if lasts else 5), 0)


def test_a_holiday_begins_and_ends_with_rest_and_a_marked_one_counts_for_nothing() -> None:
    # At work from 8:00 to 18:00; a day on which nobody is.
    active = [6 * (8 <= hour % DAY < 18) for hour in range(LENGTH)]
    active[-2 * DAY : -DAY] = [0] * DAY
    assert find_quiet_times(active, find_busy_hours(active, LENGTH - WEEK), ()) == []
    active[-2 * DAY + 8 : -2 * DAY + 10] = [6, 6]
    assert [finding.begins for finding in find_quiet_times(active, find_busy_hours(active, LENGTH - WEEK), ())] == [
        LENGTH - 2 * DAY + 10
    ]
    assert find_quiet_times(active, find_busy_hours(active, LENGTH - WEEK), range(LENGTH - 2 * DAY, LENGTH - DAY)) == []


@pytest.mark.parametrize(
    ("agents", "stopped", "is_found"), [(12, 3, False), (12, 4, True), (32, 7, False), (32, 8, True)]
)
def test_agents_that_stop_in_the_same_hour_are_part_of_the_organization(
    agents: int, stopped: int, is_found: bool
) -> None:
    sample = [[3] * (LENGTH - 6) + [3 * (place >= stopped)] * 6 for place in range(agents)]
    assert [(finding.begins, finding.stopped) for finding in find_group_stops(sample, LENGTH - DAY, ())] == [
        (LENGTH - 6, tuple(range(stopped)))
    ] * is_found


@pytest.mark.parametrize(("back", "ends"), [(1, LENGTH), (2, LENGTH - 3)])
def test_a_part_is_quiet_until_half_of_those_that_stopped_are_back(back: int, ends: int) -> None:
    working, stopped = [3] * LENGTH, [3] * (LENGTH - 8) + [0] * 8
    returned = [*stopped[:-3], 3, 3, 3]
    sample = [*[returned] * back, *[stopped] * (4 - back), *[working] * 8]
    [finding] = find_group_stops(sample, LENGTH - DAY, ())
    assert (finding.begins, finding.ends, finding.stopped) == (LENGTH - 8, ends, (0, 1, 2, 3))


def test_an_agent_stops_if_it_is_quiet_for_three_hours_in_which_it_is_nearly_always_active() -> None:
    counts = [3] * LENGTH
    counts[-6:-3] = [0] * 3
    assert has_stopped(counts, LENGTH - 6, range(LENGTH - 6, LENGTH - 3))
    assert not has_stopped([0] * (8 * WEEK) + counts[8 * WEEK :], LENGTH - 6, range(LENGTH - 6, LENGTH - 3))
    assert not has_stopped(counts, LENGTH - 5, range(LENGTH - 5, LENGTH - 2))
    counts[-4] = 1
    assert not has_stopped(counts, LENGTH - 6, range(LENGTH - 6, LENGTH - 3))
    counts[-7:-3] = [0] * 4
    assert not has_stopped(counts, LENGTH - 6, range(LENGTH - 6, LENGTH - 3))
    assert has_stopped(counts, LENGTH - 7, range(LENGTH - 7, LENGTH - 4))


@pytest.mark.parametrize(("weeks", "is_steady"), [(5, False), (6, True)])
def test_an_agent_is_nearly_always_active_in_three_of_four_weeks(weeks: int, is_steady: bool) -> None:
    counts = [3] * LENGTH
    counts[-6:] = [0] * 6
    for week in range(8 - weeks):
        counts[-4 - (week + 1) * WEEK] = 0
    assert has_stopped(counts, LENGTH - 6, range(LENGTH - 6, LENGTH - 3)) is is_steady
