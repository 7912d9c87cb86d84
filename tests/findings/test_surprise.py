"""The seasonal surprise, and the judgements of the kinds, on plain lists."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, hourly, median, runs
from agentidp.findings.identity import QUIET
from agentidp.findings.surprise import (
    DailyMaxima,
    LastHours,
    SeenHour,
    Sum,
    is_gross,
    matters,
    mean_of_three,
    newcomers_hours,
    seasonal_median,
    surprise,
    unusual_hours,
    without_gross_outliers,
)
from agentidp.findings.uncached_tokens import fewest_tokens
from agentidp.findings.weekend import unusual_work

HOURS = 13 * WEEK


def noise(mean: int, seed: str = "noise") -> list[int]:
    """Counts that vary as chance makes them, around the clock."""
    random = Random(seed)
    return [sum(random.random() < mean / 100 for _ in range(100)) for _ in range(HOURS)]


def found(counts: list[int], since: int = HOURS - WEEK, lists: int = 1) -> list[int]:
    """The hours that are a warning, counted from *since*."""
    hours = unusual_hours(counts, 0, since, number_of_lists=lists)
    return [one.hour - since for one in hours if one.severity >= Severity.warning and one.hour >= since]


def test_a_median_is_the_middle_one_or_the_mean_of_two() -> None:
    assert [median([]), median([3]), median([9, 1, 5]), median([1, 2, 3, 10])] == [0, 3, 5, 2.5]


def test_an_hour_is_compared_with_its_hour_of_the_week_after_three_weeks_and_of_the_day_before() -> None:
    counts = [float(hour // WEEK) for hour in range(4 * WEEK)]
    assert seasonal_median(counts, 3 * WEEK) == 1
    # 14 days back: six of week 2, seven of week 1.
    assert seasonal_median(counts, 3 * WEEK - 1) == 1
    assert seasonal_median([7.0] * DAY, DAY) == 7
    assert seasonal_median([7.0] * DAY, 5) == 0


def test_a_surprise_is_about_a_standard_deviation_at_any_level() -> None:
    assert surprise(100, 100) == 0
    assert surprise(110, 100) == pytest.approx(1, abs=0.05)
    assert surprise(10_100, 10_000) == pytest.approx(1, abs=0.05)


def test_what_is_expected_is_the_mean_of_the_hour_and_those_beside_it() -> None:
    assert mean_of_three(1, 2, 6) == 3
    # Beside a job the hours are not alike.
    assert mean_of_three(1, 2, 90) == 2


@pytest.mark.parametrize(
    ("count", "expected", "is_far"), [(30, 0, False), (31, 0, True), (150, 40, False), (151, 40, True)]
)
def test_a_gross_outlier_is_far_above_what_is_expected(count: int, expected: int, is_far: bool) -> None:
    assert is_gross(count, expected) is is_far


def test_a_gross_outlier_of_the_past_is_replaced_once_three_weeks_are_known() -> None:
    counts = [10] * (6 * WEEK)
    counts[3 * WEEK - 1] = counts[3 * WEEK] = counts[5 * WEEK - 30] = counts[5 * WEEK] = 900
    baseline = without_gross_outliers(counts, 0, 5 * WEEK)
    assert [hour for hour, count in enumerate(baseline) if count > 10] == [3 * WEEK - 1, 5 * WEEK]


def test_a_job_of_every_second_week_is_no_gross_outlier_of_the_past() -> None:
    counts = [400 if hour % (2 * WEEK) == 30 else 5 for hour in range(9 * WEEK)]
    assert without_gross_outliers(counts, 0, 9 * WEEK) == counts


def severity(counts: list[int], lists: int = 1) -> Severity | None:
    """The highest of the last week."""
    since = HOURS - WEEK
    return max(
        (one.severity for one in unusual_hours(counts, 0, since, number_of_lists=lists) if one.hour >= since),
        default=None,
    )


def test_the_example_of_the_module_is_as_it_says() -> None:
    """20 tokens are expected, 4.2 is usual of an hour and 4.5 of eight."""
    of_hour, of_eight, of_nights = thresholds.SPIKE_RULES
    figures = [surprise(60, 20), surprise(70, 20), surprise(320, 160), surprise(32, 0)]
    assert figures == pytest.approx([6.5, 7.8, 10.5, 10.2], abs=0.05)
    assert of_hour.times * 4.2 < figures[0] < 4.2 / thresholds.BEFORE_TIMES < figures[1]
    assert figures[2] > max(of_eight.times * 4.5, 4.5 / thresholds.BEFORE_TIMES)
    assert figures[3] > max(of_nights.times * 3.0, 3.0 / thresholds.BEFORE_TIMES)


def test_the_limits_are_higher_of_many_lists() -> None:
    counts = [40] * HOURS
    counts[-9] = 90
    assert (found(counts), found(counts, lists=60)) == ([WEEK - 9], [])


def busy(maxima: DailyMaxima, surprise_of_it: float, **of_hour: bool) -> None:
    """A day of busy hours, one of which is as surprising."""
    for hour in range(DAY):
        maxima.add(seen(5, surprise_of_it if hour == 9 else 1.0, **(of_hour if hour == 9 else {})))
    maxima.end_day()


def seen(count: float, surprise_of_it: float, *, is_unusual: bool = False) -> SeenHour:
    """An hour of which each sum is as surprising."""
    return SeenHour(count, 5, (Sum(count, 5, surprise_of_it),) * 3, False, not is_unusual, is_unusual)


def sum_of(surprise_of_it: float) -> Sum:
    return Sum(50, 5, surprise_of_it)


def test_what_is_usual_is_the_third_highest_maximum_of_35_days_without_the_last() -> None:
    maxima = DailyMaxima()
    for day in range(46):
        # The two highest of the 35 days before the last are 90 and 80.
        busy(maxima, {20: 90.0, 30: 80.0, 9: 999.0, 45: 500.0}.get(day, 7.0))
    assert maxima.usual == [7.0] * 3
    # The highest of the days before, and how many days ago.
    days = [maxima.days_since(0, sum_of(times * 999 / thresholds.BEFORE_TIMES)) for times in (0.99, 1.01)]
    assert days == [37, None]
    busy(maxima, 7.0)
    assert maxima.days_since(0, sum_of(999)) is None


def test_what_has_happened_before_does_not_change_while_a_spike_goes_on() -> None:
    maxima = DailyMaxima()
    for day in range(30):
        busy(maxima, 60.0 if day >= 25 else 7.0, is_unusual=day >= 25)
    assert maxima.days_since(0, sum_of(60)) is None
    # It has happened before once a day has passed without it.
    busy(maxima, 7.0)
    assert maxima.days_since(0, sum_of(60)) == 2


def test_the_sums_are_of_the_last_hours() -> None:
    last = LastHours()
    last.add(40, 10)
    assert [last.hour()[:2], last.night()[:2]] == [(40, 10), (40, 10)]
    for _ in range(8):
        last.add(20, 10)
    assert [last.hour()[:2], last.night()[:2]] == [(20, 10), (160, 80)]
    assert last.raised() == 8


def bursts(seed: str) -> list[int]:
    """Counts of an agent that has work in a third of its hours, and then much."""
    random = Random(seed)
    return [random.choice((3, 6, 15)) if random.random() < 0.35 else 0 for _ in range(HOURS)]


@pytest.mark.parametrize(
    ("nights", "hours", "extra", "is_found"),
    [(3, 8, 6, True), (2, 8, 6, False), (3, 6, 8, True), (3, 4, 12, False)],
)
def test_a_leak_of_three_nights_in_a_row_of_an_agent_that_works_in_bursts(
    nights: int, hours: int, extra: int, is_found: bool
) -> None:
    counts = bursts("bursts")
    assert not found(counts)
    for night in range(nights):
        for hour in range(hours):
            counts[HOURS - (night + 1) * DAY + hour] += extra
    assert bool(found(counts)) is is_found


def test_the_nights_before_are_those_of_the_same_hours() -> None:
    """Three nights at other times, of which no two share their hours."""
    counts = bursts("bursts")
    for night in range(3):
        for hour in range(8):
            counts[HOURS - 3 * DAY + night * (DAY + 8) + hour] += 6
    assert not found(counts)


def test_three_busy_days_are_no_three_nights() -> None:
    """Twice as many as expected on three days may be more work: only three times as many are a leak."""
    counts = [10 if 8 <= hour % DAY < 16 else 0 for hour in range(HOURS)]
    for day in range(3):
        for hour in range(8, 16):
            counts[HOURS - (day + 1) * DAY + hour] = 19
    hours = unusual_hours(counts, 0, HOURS - WEEK)
    assert not [one for one in hours if one.reason and one.reason.days == 3]
    for day in range(3):
        for hour in range(8, 16):
            counts[HOURS - (day + 1) * DAY + hour] = 31
    assert [one for one in unusual_hours(counts, 0, HOURS - WEEK) if one.severity >= Severity.warning]


def test_what_was_a_warning_by_itself_counts_as_expected_in_later_sums() -> None:
    last = LastHours()
    last.add(900, 10)
    last.forget()
    last.add(12, 10)
    assert last.night()[:2] == (22, 20)


def test_a_loop_of_an_hour_ends_with_it() -> None:
    counts = noise(20)
    counts[-30] += 900
    assert found(counts) == [WEEK - 30]


@pytest.mark.parametrize(
    ("tokens", "expected", "is_enough"), [(30, 1, False), (31, 1, True), (119, 80, False), (120, 80, True)]
)
def test_an_hour_or_a_day_has_enough_tokens_to_matter(tokens: int, expected: int, is_enough: bool) -> None:
    assert matters(tokens, expected, 1.5) is is_enough


@pytest.mark.parametrize(("excess", "is_found"), [(29, False), (30, True)])
def test_an_hour_must_exceed_what_is_expected_by_the_minimum(excess: int, is_found: bool) -> None:
    counts = [1] * HOURS
    counts[-9] += excess
    assert (severity(counts) is not None) is is_found


def test_an_unusual_time_that_has_happened_before_is_only_listed() -> None:
    counts = noise(20)
    counts[-60] += 50
    assert severity(counts) is Severity.warning
    # Twenty days before, and less: 0.58 times the surprise is enough.
    for before, expected in ((30, Severity.info), (10, Severity.warning)):
        counts[-20 * DAY] = 20 + before
        assert severity(counts) is expected
    counts[-20 * DAY] = 70
    [reason] = [one.reason for one in unusual_hours(counts, 0, HOURS - WEEK) if one.hour == HOURS - 60]
    assert reason is not None
    assert reason.before == HOURS - 20 * DAY


def test_a_leak_that_goes_on_is_no_less_because_of_its_own_beginning() -> None:
    counts = noise(15, "nights")
    for night in range(4):
        for hour in range(8):
            counts[HOURS - (night + 1) * DAY + hour] += 30
    warnings = found(counts)
    assert {hour // DAY for hour in warnings} == {3, 4, 5, 6}


@pytest.mark.parametrize(
    ("days", "hour", "expected"),
    [
        (7, 3, Severity.critical),
        (14, 3, Severity.info),
        (14, 4, Severity.info),
        (14, 6, Severity.critical),
        (31, 3, Severity.info),
    ],
)
def test_a_critical_hour_is_only_listed_at_the_time_of_a_job_of_each_second_week_or_month(
    days: int, hour: int, expected: Severity
) -> None:
    counts = [10] * HOURS
    for ago, at in ((1, 3), (1 + days, hour)):
        counts[HOURS - ago * DAY + at] = 900
    assert severity(counts) is expected


@pytest.mark.parametrize(("excess", "expected"), [(499, Severity.info), (500, Severity.warning)])
def test_five_hundred_tokens_more_are_a_loop_although_one_has_happened_before(excess: int, expected: Severity) -> None:
    counts = [200] * HOURS
    for ago, at in ((1, 3), (15, 9)):
        counts[HOURS - ago * DAY + at] = 200 + excess
    assert severity(counts) is expected


def test_a_monthly_job_at_midnight_may_come_an_hour_earlier_with_the_clocks() -> None:
    counts = [10] * HOURS
    for place in (HOURS - 1, HOURS - 30 * DAY):
        counts[place] = 900
    assert severity(counts) is Severity.info


@pytest.mark.parametrize("days", [7, 28])
def test_what_has_happened_before_is_the_same_however_far_back_one_looks(days: int) -> None:
    counts = [20] * HOURS
    counts[-60] += 100
    counts[-60 - 45 * DAY] += 100
    [one] = [one for one in unusual_hours(counts, 0, HOURS - days * DAY) if one.hour == HOURS - 60]
    assert one.severity is Severity.warning


def test_after_a_new_level_an_hour_is_compared_with_it() -> None:
    counts = [10] * (HOURS - 6 * DAY) + [100] * (6 * DAY)
    counts[-3] = 700
    [one] = [one for one in unusual_hours(counts, 0, HOURS - WEEK) if one.hour == HOURS - 3]
    assert one.expected == 100


@pytest.mark.parametrize(("hours", "expected"), [(8, Severity.info), (9, Severity.critical)])
def test_what_lasted_for_more_than_eight_hours_was_no_job(hours: int, expected: Severity) -> None:
    counts = [10] * HOURS
    counts[HOURS - DAY + 3] = 900
    for at in range(hours):
        counts[HOURS - 15 * DAY + at] = 900
    assert severity(counts) is expected


def test_a_job_that_comes_an_hour_earlier_with_the_clocks_is_usual() -> None:
    counts = [300 if hour % DAY == 7 else 0 for hour in range(HOURS - 2 * DAY)]
    counts += [300 if hour % DAY == 6 else 0 for hour in range(2 * DAY)]
    assert severity(counts) is None


@pytest.mark.parametrize(("times", "is_found"), [(2.15, False), (2.25, True)])
def test_an_hour_must_be_so_many_times_what_is_expected(times: float, is_found: bool) -> None:
    counts = [400] * HOURS
    counts[-9] = round(400 * times)
    assert bool(found(counts)) is is_found


def test_a_job_that_runs_twice_is_no_loop() -> None:
    job = [60 if hour % 24 == 5 else 0 for hour in range(HOURS)]
    for hour, count in ((HOURS - 19, 120), (HOURS - 12, 60)):
        twice = [*job]
        twice[hour] = count
        assert found(twice) == []
    # Another hour with far more tokens than any run has is one.
    job[HOURS - 12] = 200
    assert found(job) == [WEEK - 12]


def test_a_batch_that_runs_longer_is_no_loop_and_a_busier_one_is() -> None:
    batch = [50 if hour % 24 in (2, 3, 4) else 0 for hour in range(HOURS)]
    longer, busier = [*batch], [*batch]
    longer[HOURS - 19 : HOURS - 16] = [50] * 3
    busier[HOURS - 22 : HOURS - 19] = [200] * 3
    assert severity(longer) is Severity.info
    assert found(busier) == [WEEK - 22, WEEK - 21, WEEK - 20]


def test_a_night_that_doubles_is_found_by_eight_hours() -> None:
    counts = noise(15, "nights")
    for hour in range(HOURS - 26, HOURS - 18):
        counts[hour] += 15
    hours = [one for one in unusual_hours(counts, 0, HOURS - WEEK) if one.hour >= HOURS - WEEK]
    assert {one.reason.hours for one in hours if one.reason and one.severity is Severity.warning} == {8}


def test_an_agent_at_night_is_not_judged_by_its_noon() -> None:
    counts = [
        round(80 * (hour % 24 in range(8, 18)) * (0.8 + 0.4 * (hour * 7 % 10) / 10)) + hour % 2 for hour in range(HOURS)
    ]
    for hour in range(HOURS - 22, HOURS - 17):
        counts[hour] = 22
    assert found(counts) != []


def test_a_lasting_step_is_unusual_for_five_days_and_then_a_new_level() -> None:
    counts = noise(20, "step")
    begins = HOURS - 3 * WEEK
    counts[begins:] = [5 * count for count in counts[begins:]]
    hours = [one.hour for one in unusual_hours(counts, 0, begins) if one.hour >= begins]
    assert hours[0] == begins
    assert hours[-1] < begins + (thresholds.LEVEL_DAYS + 1) * DAY
    # A loop at the new level is found, and so is one after it has ended.
    for place in (HOURS - 100, HOURS - 10):
        counts[HOURS - 4 * DAY :] = noise(20, "after")[: 4 * DAY]
        counts[place] += 900
    hours = [one.hour for one in unusual_hours(counts, 0, begins) if one.hour >= HOURS - WEEK]
    assert hours == [HOURS - 100, HOURS - 10]


def test_a_gross_outlier_of_the_first_weeks_says_how_much_the_counts_jump_about() -> None:
    counts = noise(10, "first weeks")
    first = HOURS - 4 * WEEK
    counts[:first] = [0] * first
    for day in (3, 6, 9):
        counts[first + day * DAY + 7] = 200
    counts[first + 20 * DAY + 3] = 200
    assert unusual_hours(counts, first, first + 15 * DAY) == []


def test_chance_is_no_surprise() -> None:
    for seed in range(10):
        assert found(noise(20, f"chance {seed}")) == []


def test_a_leak_of_two_thirds_of_what_is_typical_is_found_by_the_sum_of_its_hours() -> None:
    counts = noise(20)
    for hour in range(HOURS - 60, HOURS - 12):
        counts[hour] = counts[hour] * 5 // 3
    assert 108 <= found(counts, lists=20)[0] < 138
    # By no hour of its own.
    hours = unusual_hours(counts, 0, HOURS - WEEK, number_of_lists=20, by_day=False)
    assert max((one.severity for one in hours), default=Severity.info) == Severity.info


def differing_days(seed: str = "days that differ") -> list[int]:
    """Bursts, on days that differ: an hour or the clipped sum of a day may be high by itself."""
    random = Random(seed)
    counts: list[int] = []
    for _ in range(HOURS // DAY):
        of_day = 15 * random.lognormvariate(0, 0.2)
        counts += [round(random.gammavariate(15, of_day / 15)) for _ in range(DAY)]
    return counts


def test_seven_times_the_tokens_for_a_day_and_a_half_is_a_warning_of_an_agent_whose_days_differ() -> None:
    counts = differing_days()
    assert severity(counts, 40) is None
    for hour in range(HOURS - 40, HOURS - 4):
        counts[hour] += 100
    assert severity(counts, 40) == Severity.warning


@pytest.mark.parametrize("seed", ["days that differ", "a", "b"])
def test_seven_times_the_tokens_is_unusual_until_it_ends(seed: str) -> None:
    counts, begins, ends = differing_days(seed), HOURS - 40, HOURS - 4
    for hour in range(begins, ends):
        counts[hour] += 100
    hours = [one.hour for one in unusual_hours(counts, 0, HOURS - WEEK, number_of_lists=40) if one.hour >= begins]
    # Eight hours are enough; from then on, it is one finding.
    assert hours[0] < begins + 8
    assert hours[-1] == ends - 1
    assert max(after - before for before, after in pairwise(hours)) < QUIET // timedelta(hours=1)


@pytest.mark.parametrize(("tokens", "expected"), [(100, Severity.info), (270, Severity.warning)])
def test_a_loop_of_two_weeks_ago_hides_none_that_is_far_larger(tokens: int, expected: Severity) -> None:
    counts = differing_days()
    for hour in range(HOURS - 40 - 14 * DAY, HOURS - 32 - 14 * DAY):
        counts[hour] += 70
    for hour in range(HOURS - 40, HOURS - 32):
        counts[hour] += tokens
    assert severity(counts, 40) == expected


@pytest.mark.parametrize("seed", ["d", "e", "f"])
def test_a_day_is_judged_alike_when_it_becomes_the_first_of_those_looked_at(seed: str) -> None:
    counts, day = differing_days(seed), HOURS // DAY - 4
    # The evening before the 28 days that the day is compared with, and the day itself, are busy.
    for hour in range((day - 29) * DAY - 12, (day - 29) * DAY):
        counts[hour] += 10
    for hour in range(day * DAY, (day + 1) * DAY):
        counts[hour] += 14
    first, last = (
        [one for one in unusual_hours(counts, 0, since * DAY) if one.hour // DAY == day] for since in (day, day - 6)
    )
    assert first == last


def test_an_agent_needs_a_month_before_its_nights_are_judged() -> None:
    counts = [20] * (29 * DAY) + [33] * DAY
    assert unusual_hours(counts, 0, 29 * DAY) == []
    counts = [20] * (30 * DAY) + [33] * DAY
    assert unusual_hours(counts, 0, 30 * DAY) != []


@pytest.mark.parametrize(("count", "expected"), [(400, Severity.warning), (401, Severity.critical)])
def test_a_critical_count_is_ten_times_the_busiest_hour_of_28_days(count: int, expected: Severity) -> None:
    counts = [40 if hour % DAY == 2 else 10 for hour in range(HOURS)]
    counts[-9] = count
    assert severity(counts) == expected


def test_a_weekly_job_is_usual_and_a_weekly_loop_is_not() -> None:
    job, loop = noise(10, "job"), noise(10, "loop")
    for week in range(13):
        job[week * WEEK + 30] = 900
        # It began three weeks after the history.
        loop[week * WEEK + 30] += 900 * (week > 2)
    assert found(job) == []
    assert found(loop) == [30]


@pytest.mark.parametrize(("tokens", "is_found"), [(thresholds.MIN_LOOP - 1, False), (thresholds.MIN_LOOP, True)])
def test_an_agent_without_a_past_has_a_limit(tokens: int, is_found: bool) -> None:
    assert bool(newcomers_hours([0] * 9 + [tokens], 0)) is is_found


def test_what_a_new_agent_does_every_day_is_usual() -> None:
    assert newcomers_hours([300] * (10 * DAY), 0) == []
    # Reported for a day, if it is that much.
    assert len(newcomers_hours([800] * (10 * DAY), 0)) == DAY


def test_slots_are_added_up_and_days_without_a_row_are_zero() -> None:
    assert hourly([(1, [1] * 24), (1, [2] * 24)], 30) == [0] * 24 + [3] * 6
    assert hourly([(1, [1] * 24, [5] * 24)], 30, 2) == [0] * 24 + [5] * 6
    assert first_active_day([0] * 30 + [1]) == 24
    assert first_active_day([0] * 30) is None
    assert runs([1, 2, 27, 51], 24) == [[1, 2], [27, 51]]


def test_the_fewest_tokens_are_one_a_lifetime_in_each_run_of_hours() -> None:
    assert fewest_tokens([9, 10, 11, 14], 3600) == 4
    assert fewest_tokens([9, 10, 11, 14], 700) == 22
    assert fewest_tokens([0, 23], 86_400) == 1
    assert fewest_tokens([], 3600) == 0


@pytest.mark.parametrize(("tokens", "is_found"), [(9, False), (10, True)])
def test_a_run_on_a_day_of_rest(tokens: int, is_found: bool) -> None:
    # Seven weeks whose last day is one of rest, and another.
    counts = ([*[0] * 9, 12, *[0] * 14] * 6 + [0] * DAY) * 7
    counts += [*[0] * 9, 12, *[0] * 14] * 6 + [*[0] * 9, tokens, *[0] * 14]
    assert bool(unusual_work(counts, 55)) is is_found
