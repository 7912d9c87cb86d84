"""The seasonal surprise, and the judgements of the kinds, on plain lists."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from math import exp, inf
from random import Random

import pytest

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, hourly, runs
from agentidp.findings.identity import QUIET
from agentidp.findings.seasonal import expected_tokens, median, precedent, seasonal_median, surprise
from agentidp.findings.surprise import (
    LastDay,
    ReturnPeriod,
    ZScore,
    is_gross,
    matters,
    month_end_precedent,
    newcomers_hours,
    severity_of,
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


def test_the_example_of_the_decisions_is_as_they_say() -> None:
    """docs/decisions/findings.md: 35 tokens an hour where 20 are expected, from midnight on, of one of ten agents."""
    usual, leaking, lists = 20, 35, 11
    of_hour = surprise(leaking, usual)
    by_hour, by_day, lasting = ReturnPeriod(2.5, 0.14), ZScore(4.6, 4.0), ZScore(0.96, 0.5)
    last_day = LastDay()
    for _ in range(DAY):
        last_day.add(0, usual, usual)
    severities, has_enough = [], []
    for _ in range(16):
        last_day.add(of_hour, leaking, usual)
        severities.append(severity_of(0, by_day.score(last_day.surprise), lists))
        has_enough.append(matters(last_day.tokens, last_day.expected))
    assert severities.index(Severity.warning) == 10 - 1
    assert has_enough.index(True) == 16 - 1
    assert (last_day.tokens, last_day.expected) == (720, 480)
    figures = (of_hour, by_hour.days(of_hour), last_day.surprise, by_day.score(last_day.surprise))
    assert figures == pytest.approx((2.87, 11, 45.9, 10.3), rel=0.05)
    assert severity_of(by_hour.days(of_hour), lasting.score(last_day.lasting()), lists) is None
    assert lasting.score(of_hour) == pytest.approx(3.8, abs=0.05)
    assert severity_of(by_hour.days(surprise(400, usual)), 0, lists) is Severity.warning
    assert surprise(400, usual) == pytest.approx(31.0, abs=0.05)
    assert by_hour.days(surprise(400, usual)) > 2e6


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
    assert expected_tokens([1.0, 2.0, 9.0] * 8 * WEEK, 3 * WEEK + 1, 0) == 4


def test_a_precedent_is_the_highest_count_of_the_hour_of_the_week_or_one_beside_it() -> None:
    counts = [0.0] * (4 * WEEK)
    counts[WEEK + 31] = 9
    assert [precedent(counts, 3 * WEEK + hour, 0) for hour in (29, 30, 31, 32, 33)] == [0, 9, 9, 9, 0]
    assert precedent(counts, 3 * WEEK + 31, 2 * WEEK) == 0


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


def test_a_return_period_follows_the_tail_of_the_daily_maxima() -> None:
    calm = ReturnPeriod.of([3.0] * 28)
    assert calm.base == 3
    assert calm.days(3) == 0
    assert calm.days(3 * exp(calm.index)) == pytest.approx(4 * exp(1))
    bursty = ReturnPeriod.of([3.0] * 21 + [10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0])
    assert bursty.days(60) < calm.days(60) / 100


def test_a_z_score_is_taken_from_the_median_and_the_deviation_of_28_days() -> None:
    # What is older does not count; two of 28 are 14 above the median: a deviation of sqrt(2 * 14 ** 2 / 28).
    days = ZScore.of([99.0] * 9 + [5.0] * 26 + [19.0] * 2, 4)
    assert (days.median, days.deviation) == (5, 4)
    days = ZScore.of([5.0] * 21 + [19.0] * 7, 4)
    assert (days.median, days.deviation) == (5, 7)
    assert days.score(26) == 3


def test_the_surprise_of_a_day_is_that_of_24_hours_each_clipped() -> None:
    day = LastDay()
    day.add(50, 40, 10)
    assert (day.surprise, day.tokens, day.expected) == (thresholds.CLIPPED_SURPRISE, 40, 10)
    for _ in range(23):
        day.add(-1, 10, 10)
    assert (day.surprise, day.tokens, day.expected) == (thresholds.CLIPPED_SURPRISE - 23, 270, 240)
    day.add(0, 10, 10)
    assert (day.surprise, day.tokens, day.expected) == (-23, 240, 240)


def test_what_lasts_is_the_surprise_that_an_hour_and_five_others_of_24_reach() -> None:
    day = LastDay()
    for surprise_of_hour in (9, 1, 8, 2, 7, 3, 6, 4):
        day.add(surprise_of_hour, 10, 10)
    assert day.lasting() == 3
    # This hour does not reach what six others do.
    day.add(2.5, 10, 10)
    assert day.lasting() == 2.5
    for _ in range(17):
        day.add(0, 10, 10)
    # Of the nine, the first three are more than a day ago.
    day.add(9, 10, 10)
    assert day.lasting() == 2.5


@pytest.mark.parametrize(
    ("tokens", "expected", "is_enough"), [(30, 1, False), (31, 1, True), (119, 80, False), (120, 80, True)]
)
def test_an_hour_or_a_day_has_enough_tokens_to_matter(tokens: int, expected: int, is_enough: bool) -> None:
    assert matters(tokens, expected) is is_enough


@pytest.mark.parametrize(("excess", "is_found"), [(29, False), (30, True)])
def test_an_hour_must_exceed_what_is_expected_by_the_minimum(excess: int, is_found: bool) -> None:
    counts = [1] * HOURS
    counts[-9] += excess
    assert found(counts) == [WEEK - 9] * is_found


@pytest.mark.parametrize(("times", "is_found"), [(1.5, False), (1.6, True)])
def test_an_hour_must_be_so_many_times_what_is_expected(times: float, is_found: bool) -> None:
    counts = [400] * HOURS
    counts[-9] = round(400 * times)
    assert bool(found(counts)) is is_found


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


def severity(counts: list[int], lists: int = 1) -> Severity | None:
    """The highest of the last week."""
    since = HOURS - WEEK
    return max(
        (one.severity for one in unusual_hours(counts, 0, since, number_of_lists=lists) if one.hour >= since),
        default=None,
    )


@pytest.mark.parametrize(
    ("lists", "info", "warning", "expected"),
    [
        (1, 1.001, 2, None),
        (1, 0.999, 1.001, Severity.info),
        (1, 0.999, 0.999, Severity.warning),
        # Each of several lists has its chance.
        (20, 0.999, 0.999, None),
    ],
)
def test_a_raised_day_is_listed_or_a_warning_by_its_z_score(
    monkeypatch: pytest.MonkeyPatch, lists: int, info: float, warning: float, expected: Severity | None
) -> None:
    counts = [20] * HOURS
    counts[-DAY:] = [31] * DAY
    # The deviation of days that are alike is the least.
    z_score = DAY * surprise(31, 20) / thresholds.MIN_DAY_DEVIATION
    monkeypatch.setattr(thresholds, "INFO_Z_SCORE", info * z_score)
    monkeypatch.setattr(thresholds, "WARNING_Z_SCORE", warning * z_score)
    assert severity(counts, lists) == expected


@pytest.mark.parametrize(
    ("lists", "info", "warning", "expected"),
    [
        (1, 1.001, 2, None),
        (1, 0.999, 1.001, Severity.info),
        (1, 0.999, 0.999, Severity.warning),
        (20, 0.051, 0.051, None),
        (20, 0.049, 0.051, Severity.info),
    ],
)
def test_an_hour_is_listed_or_a_warning_by_its_return_period(
    monkeypatch: pytest.MonkeyPatch, lists: int, info: float, warning: float, expected: Severity | None
) -> None:
    counts = [20] * HOURS
    counts[-9] = 55
    days = ReturnPeriod.of([0.0] * 28).days(surprise(55, 20))
    monkeypatch.setattr(thresholds, "INFO_RETURN_DAYS", info * days)
    monkeypatch.setattr(thresholds, "WARNING_RETURN_DAYS", warning * days)
    assert severity(counts, lists) == expected


@pytest.mark.parametrize(
    ("days", "z_score", "lists", "expected"),
    [
        (59.9, 3.79, 1, None),
        (60, 0, 1, Severity.info),
        (799.9, 4.79, 1, Severity.info),
        (800, 0, 1, Severity.warning),
        (0, 3.8, 1, Severity.info),
        (0, 4.8, 1, Severity.warning),
        # 20 lists have 20 chances: 1,200 and 16,000 days.
        (1199, 0, 20, None),
        (1200, 0, 20, Severity.info),
        (15_999, 0, 20, Severity.info),
        (16_000, 0, 20, Severity.warning),
    ],
)
def test_once_in_60_days_is_listed_and_once_in_800_a_warning_of_each_list(
    days: float, z_score: float, lists: int, expected: Severity | None
) -> None:
    assert severity_of(days, z_score, lists) == expected


def bursty() -> list[int]:
    """A burst of an hour each day, that ends before ten, and 20 tokens in any other hour."""
    counts = [20] * HOURS
    for day in range(HOURS // DAY - 1):
        counts[day * DAY + day * 7 % 10] = 60
    return counts


@pytest.mark.parametrize(("hours", "expected"), [(5, None), (6, Severity.warning)])
def test_what_lasts_for_six_hours_is_unusual_for_an_agent_with_bursts_of_an_hour(
    monkeypatch: pytest.MonkeyPatch, hours: int, expected: Severity | None
) -> None:
    # Without the sum of the day.
    monkeypatch.setattr(thresholds, "MIN_DAY_DEVIATION", inf)
    counts = bursty()
    counts[-12 : hours - 12] = [60] * hours
    assert severity(counts) == expected


@pytest.mark.parametrize(
    ("info", "warning", "expected"),
    [(1.001, 2, None), (0.999, 1.001, Severity.info), (0.999, 0.999, Severity.warning)],
)
def test_what_lasts_is_listed_or_a_warning_by_its_z_score(
    monkeypatch: pytest.MonkeyPatch, info: float, warning: float, expected: Severity | None
) -> None:
    monkeypatch.setattr(thresholds, "MIN_DAY_DEVIATION", inf)
    counts = bursty()
    counts[-12:-6] = [60] * 6
    z_score = surprise(60, 20) / thresholds.MIN_LASTING_DEVIATION
    monkeypatch.setattr(thresholds, "INFO_Z_SCORE", info * z_score)
    monkeypatch.setattr(thresholds, "WARNING_Z_SCORE", warning * z_score)
    assert severity(counts) == expected


def test_what_lasts_each_sixth_week_is_usual() -> None:
    counts = bursty()
    for week in (1, 7):
        counts[week * WEEK - 12 : week * WEEK - 6] = [60] * 6
    counts[-12:-6] = [60] * 6
    assert severity(counts) is None


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
    # Six hours are needed; from then on, it is one finding.
    assert hours[0] <= begins + thresholds.LASTING_HOURS
    assert hours[-1] == ends - 1
    assert max(after - before for before, after in pairwise(hours)) < QUIET // timedelta(hours=1)


def test_a_loop_of_two_weeks_ago_hides_no_other() -> None:
    counts = differing_days()
    for hour in range(HOURS - 40 - 14 * DAY, HOURS - 32 - 14 * DAY):
        counts[hour] += 300
    for hour in range(HOURS - 40, HOURS - 4):
        counts[hour] += 100
    assert severity(counts, 40) == Severity.warning


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


def test_an_agent_needs_a_month_before_its_days_are_judged() -> None:
    counts = [20] * (29 * DAY) + [31] * DAY
    assert unusual_hours(counts, 0, 29 * DAY) == []
    counts = [20] * (30 * DAY) + [31] * DAY
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


@pytest.mark.parametrize(("tokens", "is_found"), [(thresholds.MIN_NEW - 1, False), (thresholds.MIN_NEW, True)])
def test_an_agent_without_a_past_has_a_limit(tokens: int, is_found: bool) -> None:
    assert bool(newcomers_hours([0] * 9 + [tokens], 0)) is is_found


def test_what_a_new_agent_does_every_day_is_usual() -> None:
    assert newcomers_hours([300] * (10 * DAY), 0) == []
    # Reported for a day, if it is that much.
    assert len(newcomers_hours([800] * (10 * DAY), 0)) == DAY


def test_slots_are_added_up_and_days_without_a_row_are_zero() -> None:
    assert hourly([(1, [1] * 24), (1, [2] * 24)], 30) == [0] * 24 + [3] * 6
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


def test_each_earlier_month_must_have_had_it_at_its_end() -> None:
    # From 1 January on; the hour is noon of 31 March.
    counts, hour = [5] * (90 * DAY), 89 * DAY + 12
    counts[30 * DAY + 11] = 700
    assert month_end_precedent(counts, hour, date(2026, 1, 1)) == 5
    counts[60 * DAY + 13] = 900
    assert month_end_precedent(counts, hour, date(2026, 1, 1)) == 5
    counts[DAY + 12] = 800
    assert month_end_precedent(counts, hour, date(2026, 1, 1)) == 700
