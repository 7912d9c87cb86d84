"""Which hours of a list of counts are unusual, and how urgent that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, hourly, median, runs
from agentidp.findings.identity import QUIET
from agentidp.findings.surprise import (
    UnusualHour,
    is_gross,
    matters,
    newcomers_hours,
    seasonal_median,
    surprise,
    unusual_hours,
    without_gross_outliers,
)

HOURS = 13 * WEEK
LAST_WEEK = HOURS - WEEK
INFO, WARNING, CRITICAL = Severity


def noise(mean: int, seed: str = "noise") -> list[int]:
    """Counts that vary as chance makes them, around the clock."""
    random = Random(seed)
    return [sum(random.random() < mean / 100 for _ in range(100)) for _ in range(HOURS)]


def bursts() -> list[int]:
    """Counts of an agent that has work in a third of its hours, and then much."""
    random = Random("bursts")
    return [random.choice((3, 6, 15)) if random.random() < 0.35 else 0 for _ in range(HOURS)]


def differing_days(seed: str = "days that differ") -> list[int]:
    """Bursts, on days that differ: an hour or the clipped sum of a day may be high by itself."""
    random, counts = Random(seed), list[int]()
    for _ in range(HOURS // DAY):
        of_day = 15 * random.lognormvariate(0, 0.2)
        counts += [round(random.gammavariate(15, of_day / 15)) for _ in range(DAY)]
    return counts


def daily(*of_hours: int, tokens: int = 50, others: int = 0) -> list[int]:
    """The same in some hours of each day."""
    return [tokens if hour % DAY in of_hours else others for hour in range(HOURS)]


def ago(days: int, *hours: int) -> list[int]:
    """The places of hours of a day."""
    return [HOURS - days * DAY + hour for hour in hours]


def with_more(counts: list[int], places: Iterable[int], more: int) -> list[int]:
    """The counts with so many more in some places."""
    changed = [*counts]
    for place in places:
        changed[place] += more
    return changed


def of_last_week(counts: list[int], lists: int = 1, since: int = LAST_WEEK) -> list[UnusualHour]:
    """The unusual hours since then."""
    return [one for one in unusual_hours(counts, 0, since, number_of_lists=lists) if one.hour >= since]


def warnings(counts: list[int], lists: int = 1) -> list[int]:
    """The hours of the last week that are a warning, or critical."""
    return [one.hour for one in of_last_week(counts, lists) if one.severity >= WARNING]


FLAT = [10] * HOURS
NIGHT = range(8)
TWO_WEEKS_AGO = with_more(FLAT, ago(1, 3), 890)


@pytest.mark.parametrize(
    ("counts", "lists", "expected"),
    [
        # By the minimum, in tokens and in times what is expected.
        (with_more([1] * HOURS, [HOURS - 9], 29), 1, None),
        (with_more([1] * HOURS, [HOURS - 9], 30), 1, WARNING),
        (with_more([400] * HOURS, [HOURS - 9], 460), 1, None),
        (with_more([400] * HOURS, [HOURS - 9], 500), 1, WARNING),
        # The limits rise with the number of lists, up to sixty.
        (with_more([40] * HOURS, [HOURS - 9], 50), 1, WARNING),
        (with_more([40] * HOURS, [HOURS - 9], 50), 60, None),
        (with_more([40] * HOURS, [HOURS - 9], 70), 60, WARNING),
        (with_more([40] * HOURS, [HOURS - 9], 70), 600, WARNING),
        # Ten times the second-busiest day's hour.
        (with_more(daily(2, tokens=40, others=10), [HOURS - 9], 390), 1, WARNING),
        (with_more(daily(2, tokens=40, others=10), [HOURS - 9], 391), 1, CRITICAL),
        # What has happened before is only listed: 0.58 times the surprise is enough.
        (with_more(noise(20), [HOURS - 60], 50), 1, WARNING),
        (with_more(with_more(noise(20), [HOURS - 60], 50), [HOURS - 20 * DAY], 30), 1, INFO),
        (with_more(with_more(noise(20), [HOURS - 60], 50), [HOURS - 20 * DAY], 8), 1, WARNING),
        # A loop was before if it came at this time of the day more than a week ago, for eight hours at most.
        (with_more(TWO_WEEKS_AGO, ago(8, 3), 890), 1, CRITICAL),
        (with_more(TWO_WEEKS_AGO, ago(15, 3), 890), 1, INFO),
        (with_more(TWO_WEEKS_AGO, ago(15, 4), 890), 1, INFO),
        (with_more(TWO_WEEKS_AGO, ago(15, 6), 890), 1, CRITICAL),
        (with_more(TWO_WEEKS_AGO, ago(32, 3), 890), 1, INFO),
        (with_more(TWO_WEEKS_AGO, ago(15, *range(8)), 890), 1, INFO),
        (with_more(TWO_WEEKS_AGO, ago(15, *range(9)), 890), 1, CRITICAL),
        # An hour earlier with the clocks.
        (with_more(FLAT, [HOURS - 1, HOURS - 30 * DAY], 890), 1, INFO),
        # 500 tokens more than expected are a loop.
        (with_more([200] * HOURS, [*ago(1, 3), *ago(15, 9)], 499), 1, INFO),
        (with_more([200] * HOURS, [*ago(1, 3), *ago(15, 9)], 500), 1, WARNING),
        # A loop of two weeks ago hides none that is far larger.
        (with_more(with_more(differing_days(), ago(16, *NIGHT), 70), ago(2, *NIGHT), 100), 40, INFO),
        (with_more(with_more(differing_days(), ago(16, *NIGHT), 70), ago(2, *NIGHT), 270), 40, WARNING),
        # A job that runs an hour earlier since the clocks went forward, or twice, and a batch that takes longer.
        (with_more(with_more(daily(7, tokens=300), ago(1, 7), -300), ago(1, 6), 300), 1, None),
        (with_more(daily(5, tokens=60), ago(1, 5), 60), 1, None),
        (with_more(daily(2, 3, 4), ago(1, 5, 6, 7), 50), 1, INFO),
        (with_more(daily(2, 3, 4), ago(1, 2, 3, 4), 150), 1, WARNING),
        # Two raised hours of eight are enough, though neither is unusual beside hours of which as many are expected.
        (with_more([10, 60] * (HOURS // 2), ago(1, 4, 8), 110), 1, WARNING),
        (differing_days(), 40, None),
    ],
)
def test_the_most_urgent_hour_of_a_week(counts: list[int], lists: int, expected: Severity | None) -> None:
    assert max((one.severity for one in of_last_week(counts, lists)), default=None) == expected


WEEKLY = with_more([0] * HOURS, range(30, HOURS, WEEK), 900)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # A loop ends with its hour, and what happens each week is usual, unless it began after the first three.
        (with_more(noise(20), [HOURS - 30], 900), [HOURS - 30]),
        ([sum(pair) for pair in zip(noise(10, "job"), WEEKLY, strict=True)], []),
        (with_more(noise(10, "loop"), range(30 + 3 * WEEK, HOURS, WEEK), 900), [LAST_WEEK + 30]),
        # Another hour with far more tokens than any run of a job.
        (with_more(daily(5, tokens=60), ago(1, 12), 200), ago(1, 12)),
        *((noise(20, f"chance {seed}"), []) for seed in range(5)),
        (bursts(), []),
        # Three nights at other times, of which no two share their hours.
        (
            with_more(
                bursts(), [HOURS - 3 * DAY + night * (DAY + 8) + hour for night in range(3) for hour in NIGHT], 6
            ),
            [],
        ),
    ],
)
def test_the_hours_of_a_week_that_are_a_warning(counts: list[int], expected: list[int]) -> None:
    assert warnings(counts) == expected


@pytest.mark.parametrize(
    ("nights", "hours", "extra", "is_found"),
    [(3, 8, 6, True), (2, 8, 6, False), (3, 6, 8, True), (3, 4, 12, False)],
)
def test_a_leak_of_three_nights_in_a_row_of_an_agent_that_works_in_bursts(
    nights: int, hours: int, extra: int, is_found: bool
) -> None:
    places = [place for night in range(nights) for place in ago(night + 1, *range(hours))]
    assert bool(warnings(with_more(bursts(), places, extra))) is is_found


@pytest.mark.parametrize(("tokens", "is_found"), [(19, False), (31, True)])
def test_three_busy_days_are_three_nights_if_they_have_three_times_as_many(tokens: int, is_found: bool) -> None:
    counts = daily(*range(8, 16), tokens=10)
    for day in range(3):
        counts = with_more(counts, ago(day + 1, *range(8, 16)), tokens - 10)
    hours = unusual_hours(counts, 0, LAST_WEEK)
    assert bool([one for one in hours if one.severity >= WARNING]) is is_found
    assert is_found or not [one for one in hours if one.reason and one.reason.days == 3]


def test_a_night_that_doubles_is_found_by_eight_hours() -> None:
    found = of_last_week(with_more(noise(15, "nights"), range(HOURS - 26, HOURS - 18), 15))
    assert {one.reason.hours for one in found if one.reason and one.severity is WARNING} == {8}


def test_a_leak_of_two_thirds_of_what_is_typical_is_found_by_the_sum_of_its_hours() -> None:
    counts = noise(20)
    for hour in range(HOURS - 60, HOURS - 12):
        counts[hour] = counts[hour] * 5 // 3
    assert HOURS - 60 <= warnings(counts, lists=20)[0] < HOURS - 30
    # By no hour of its own.
    hours = unusual_hours(counts, 0, LAST_WEEK, number_of_lists=20, by_day=False)
    assert max((one.severity for one in hours), default=INFO) == INFO


def test_a_leak_that_goes_on_is_no_less_because_of_its_own_beginning() -> None:
    places = [place for night in range(4) for place in ago(night + 1, *NIGHT)]
    days = {(hour - LAST_WEEK) // DAY for hour in warnings(with_more(noise(15, "nights"), places, 30))}
    assert days == {3, 4, 5, 6}


def test_an_agent_at_night_is_not_judged_by_its_noon() -> None:
    counts = [
        round(80 * (hour % 24 in range(8, 18)) * (0.8 + 0.4 * (hour * 7 % 10) / 10)) + hour % 2 for hour in range(HOURS)
    ]
    for hour in range(HOURS - 22, HOURS - 17):
        counts[hour] = 22
    assert warnings(counts)


def test_what_has_happened_before_is_named_and_is_the_same_however_far_back_one_looks() -> None:
    counts = with_more([20] * HOURS, [HOURS - 60, HOURS - 60 - 45 * DAY], 100)
    for days in (7, 28):
        [one] = [one for one in unusual_hours(counts, 0, HOURS - days * DAY) if one.hour == HOURS - 60]
        assert one.severity is WARNING
    before = with_more(counts, [HOURS - 20 * DAY], 100)
    [reason] = [one.reason for one in of_last_week(before) if one.hour == HOURS - 60]
    assert reason is not None
    assert reason.before == HOURS - 20 * DAY


@pytest.mark.parametrize(("days_ago", "expected"), [(38, INFO), (39, WARNING)])
def test_what_has_happened_in_five_weeks_before_counts(days_ago: int, expected: Severity) -> None:
    counts = with_more([20] * HOURS, [*ago(1, 9), *ago(days_ago, 9)], 100)
    assert {one.severity for one in of_last_week(counts)} == {expected}


def test_a_lasting_step_is_unusual_for_five_days_and_then_a_new_level() -> None:
    counts, begins = noise(20, "step"), HOURS - 3 * WEEK
    counts[begins:] = [5 * count for count in counts[begins:]]
    hours = [one.hour for one in of_last_week(counts, since=begins)]
    assert hours[0] == begins
    assert hours[-1] < begins + (thresholds.LEVEL_DAYS + 1) * DAY
    # A loop at the new level is found, with what is expected then, and so is one after it has ended.
    counts[HOURS - 4 * DAY :] = noise(20, "after")[: 4 * DAY]
    found = of_last_week(with_more(counts, [HOURS - 100, HOURS - 10], 900), since=begins)
    assert [one.hour for one in found if one.hour >= LAST_WEEK] == [HOURS - 100, HOURS - 10]
    level = [10] * (HOURS - 6 * DAY) + [100] * (6 * DAY)
    assert [one.expected for one in of_last_week(with_more(level, [HOURS - 3], 600)) if one.hour == HOURS - 3] == [100]


def test_a_gross_outlier_of_the_first_weeks_says_how_much_the_counts_jump_about() -> None:
    first = HOURS - 4 * WEEK
    counts = [0] * first + noise(10, "first weeks")[first:]
    for day, hour in ((3, 7), (6, 7), (9, 7), (20, 3)):
        counts[first + day * DAY + hour] = 200
    assert unusual_hours(counts, first, first + 15 * DAY) == []


def test_seven_times_the_tokens_is_unusual_until_it_ends() -> None:
    begins, ends = HOURS - 40, HOURS - 4
    found = of_last_week(with_more(differing_days(), range(begins, ends), 100), 40)
    hours = [one.hour for one in found if one.hour >= begins]
    assert max(one.severity for one in found) is WARNING
    # Eight hours are enough; from then on, it is one finding.
    assert hours[0] < begins + 8
    assert hours[-1] == ends - 1
    assert max(after - before for before, after in pairwise(hours)) < QUIET // timedelta(hours=1)


@pytest.mark.parametrize("seed", ["d", "e"])
def test_a_day_is_judged_alike_when_it_becomes_the_first_of_those_looked_at(seed: str) -> None:
    counts, day = differing_days(seed), HOURS // DAY - 4
    # The evening before the 28 days that the day is compared with, and the day itself, are busy.
    counts = with_more(counts, range((day - 29) * DAY - 12, (day - 29) * DAY), 10)
    counts = with_more(counts, range(day * DAY, (day + 1) * DAY), 14)
    first, last = (
        [one for one in unusual_hours(counts, 0, since * DAY) if one.hour // DAY == day] for since in (day, day - 6)
    )
    assert first == last


@pytest.mark.parametrize(("days", "is_found"), [(29, False), (30, True)])
def test_an_agent_needs_a_month_before_its_nights_are_judged(days: int, is_found: bool) -> None:
    assert bool(unusual_hours([20] * (days * DAY) + [33] * DAY, 0, days * DAY)) is is_found


@pytest.mark.parametrize(
    ("counts", "hours"),
    [
        ([0] * 9 + [thresholds.MIN_LOOP - 1], []),
        ([0] * 9 + [thresholds.MIN_LOOP], [9]),
        # Eight times its busiest hour of the days before.
        ([70] * DAY + [560, 561], [DAY + 1]),
        # What it does every day is usual; if it is that much, it is reported for a day.
        ([300] * (10 * DAY), []),
        ([800] * (10 * DAY), [*range(DAY)]),
        ([0] * (14 * DAY) + [800], []),
    ],
)
def test_a_new_agent_has_fixed_limits(counts: list[int], hours: list[int]) -> None:
    assert [one.hour for one in newcomers_hours(counts, 0)] == hours


def test_an_hour_is_compared_with_its_hour_of_the_week_after_three_weeks_and_of_the_day_before() -> None:
    counts = [float(hour // WEEK) for hour in range(4 * WEEK)]
    assert seasonal_median(counts, 3 * WEEK) == 1
    # 14 days back: six of week 2, seven of week 1.
    assert seasonal_median(counts, 3 * WEEK - 1) == 1
    assert seasonal_median([7.0] * DAY, DAY) == 7
    assert seasonal_median([7.0] * DAY, 5) == 0


@pytest.mark.parametrize(("count", "expected"), [(110, 100), (10_100, 10_000)])
def test_a_surprise_is_about_a_standard_deviation_at_any_level(count: int, expected: int) -> None:
    assert surprise(expected, expected) == 0
    assert surprise(count, expected) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("is_so", "expected"),
    [
        (lambda: [is_gross(30, 0), is_gross(31, 0), is_gross(150, 40), is_gross(151, 40)], [False, True, False, True]),
        (
            lambda: [matters(30, 1, 1.5), matters(31, 1, 1.5), matters(119, 80, 1.5), matters(120, 80, 1.5)],
            [False, True, False, True],
        ),
        (lambda: [median([]), median([3]), median([9, 1, 5]), median([1, 2, 3, 10])], [0, 3, 5, 2.5]),
        (lambda: hourly([(1, [1] * 24), (1, [2] * 24)], 30), [0] * 24 + [3] * 6),
        (lambda: hourly([(1, [1] * 24, [5] * 24)], 30, 2), [0] * 24 + [5] * 6),
        (lambda: [first_active_day([0] * 30 + [1]), first_active_day([0] * 30)], [24, None]),
        (lambda: runs([1, 2, 27, 51], 24), [[1, 2], [27, 51]]),
    ],
)
def test_what_the_rules_are_made_of(is_so: Callable[[], object], expected: object) -> None:
    assert is_so() == expected


def test_a_gross_outlier_of_the_past_is_replaced_once_three_weeks_are_known() -> None:
    places = [3 * WEEK - 1, 3 * WEEK, 5 * WEEK - 30, 5 * WEEK]
    baseline = without_gross_outliers(with_more([10] * (6 * WEEK), places, 890), 0, 5 * WEEK)
    assert [hour for hour, count in enumerate(baseline) if count > 10] == [3 * WEEK - 1, 5 * WEEK]
    # A job of every second week is none.
    counts = [400 if hour % (2 * WEEK) == 30 else 5 for hour in range(9 * WEEK)]
    assert without_gross_outliers(counts, 0, 9 * WEEK) == counts
