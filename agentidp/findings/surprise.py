"""Seasonal surprise: how far an hour's count is above what the same hours of earlier weeks let one expect, and how
often an agent exceeds its expectations by as much.

All is arithmetic on a plain list of counts (see :mod:`agentidp.findings.history`); each hour is judged by what was
known then.

- **Expected**: the seasonal median, of the same hour of the week in 8 weeks, averaged with those of the hours beside
  it; with less than 3 weeks, of the same hour of the day in 14 days.
- **Surprise**: 2 (sqrt(count) - sqrt(expected)), about a standard deviation of a Poisson count at any level.
  *Sustained* surprise: the sum of the last 12 hours', each clipped to 3, so that it takes many hours and not one burst.
- **Return period**: in how many days such a surprise comes once, by Weissman's extrapolation of the daily maxima of the
  28 days before (Hill's estimate of the tail index, from the 7 highest). A bursty agent has a heavy tail, and it takes
  more to surprise.

An hour that was unusual counts in no later baseline; what was expected of it stands in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more than was to be expected; see the module for ``return_days``."""

    hour: int
    count: int
    expected: float
    return_days: float
    is_critical: bool = False


def median(values: list[float]) -> float:
    """The middle one, or the mean of the middle two; zero of none."""
    if not values:
        return 0.0
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def seasonal_median(counts: list[float], hour: int, first: int = 0) -> float:
    """Of the same hour of the 8 weeks before; if these are fewer than 3, of the 14 days before.

    :param first: the hour from which on there is something to compare with.
    """
    if hour - first >= 3 * WEEK:
        return median(counts[max(first + (hour - first) % WEEK, hour - thresholds.SEASON_WEEKS * WEEK) : hour : WEEK])
    return median(counts[max(first + (hour - first) % DAY, hour - 14 * DAY) : hour : DAY])


def surprise(count: float, expected: float) -> float:
    """About how many standard deviations a Poisson count is above its expectation."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


@dataclass(frozen=True)
class Tail:
    """The upper tail of some daily maxima: a value *x* above ``base`` is exceeded once in
    4 (x / base) ** (1 / index) days."""

    base: float
    index: float

    @classmethod
    def of(cls, maxima: Sequence[float], statistic: str) -> Tail:
        """Fit it to the last 28 daily maxima.

        :param statistic: ``hour`` or ``sustained``.
        """
        floor = thresholds.MIN_SURPRISE[statistic]
        recent = maxima[-thresholds.CALIBRATION_DAYS :]
        *highest, base = sorted((max(one, floor) for one in recent), reverse=True)[: thresholds.TAIL_DAYS + 1]
        hill = sum(log(one / base) for one in highest)
        weight = thresholds.PRIOR_WEIGHT
        return cls(base, (hill + weight * thresholds.PRIOR_TAIL[statistic]) / (len(highest) + weight))

    def return_days(self, value: float) -> float:
        """In how many days such a value comes once; zero of one that is among the ordinary."""
        if value <= self.base:
            return 0.0
        rarity = log(value / self.base) / self.index
        return exp(rarity) * thresholds.CALIBRATION_DAYS / thresholds.TAIL_DAYS if rarity < 700 else inf


def unusual_hours(counts: Sequence[int], first: int, since: int) -> list[UnusualHour]:
    """The unusual hours of an agent, from two weeks after its first day on.

    :param first: the midnight from which on it was active.
    :param since: the midnight from which on its hours matter. The 29 days before make its daily maxima, in half of
        which unusual hours are found too, so that one knows when what goes on began; of what is older only the
        baseline is taken, without gross outliers.
    """
    begins = max(first + DAY, since - (thresholds.CALIBRATION_DAYS + 1) * DAY)
    baseline = [float(count) for count in counts]
    for hour in _tall_hours(counts, first + 3 * WEEK, begins):
        expected, highest = _expected(baseline, hour, first)
        if _is_gross(counts[hour], max(expected, _precedent(baseline, hour, first)), highest):
            baseline[hour] = expected
    return _Judgement(counts, baseline, first).run(begins)


def _tall_hours(counts: Sequence[int], begins: int, ends: int) -> list[int]:
    """Those that can be gross outliers: a shortcut, since a median of each hour takes long."""
    if begins >= ends:
        return []
    bound = [
        thresholds.GROSS_TIMES * median(list(counts[hour:ends:DAY])) + thresholds.MIN_EXCESS for hour in range(DAY)
    ]
    return [hour for hour in range(begins, ends) if counts[hour] > bound[hour % DAY]]


def _expected(baseline: list[float], hour: int, first: int) -> tuple[float, float]:
    """The mean and the highest of the seasonal medians of an hour and those beside it."""
    medians = [seasonal_median(baseline, near, first) for near in (hour - 1, hour, hour + 1)]
    return sum(medians) / 3, max(medians)


def _precedent(baseline: list[float], hour: int, first: int) -> float:
    """The highest count so far at this hour of the week or one beside it: of a job of every second week."""
    return max(
        (max(baseline[max(before - 1, 0) : before + 2]) for before in range(hour - WEEK, first - 1, -WEEK)), default=0.0
    )


def _is_gross(count: float, expected: float, highest: float) -> bool:
    is_far = count > thresholds.GROSS_TIMES * highest + thresholds.MIN_EXCESS
    return is_far and surprise(count, expected) > thresholds.GROSS_SURPRISE


class _Judgement:
    """One pass over an agent's hours, in order.

    :param baseline: the counts, in which unusual ones are replaced as the pass goes on.
    """

    def __init__(self, counts: Sequence[int], baseline: list[float], first: int) -> None:
        self.counts, self.baseline, self.first = counts, baseline, first
        self.maxima: dict[str, list[float]] = {"hour": [], "sustained": [], "count": []}
        self.tails: dict[str, Tail] = {}
        self.found: list[UnusualHour] = []

    def run(self, begins: int) -> list[UnusualHour]:
        counts, span = self.counts, thresholds.SUSTAINED_HOURS
        clip = thresholds.CLIPPED_SURPRISE
        recent: deque[tuple[float, float]] = deque([(0.0, 0.0)] * span)
        sustained = excess = highest_one = highest_sustained = highest_count = 0.0
        before, now = (seasonal_median(self.baseline, hour, self.first) for hour in (begins - 1, begins))
        for hour in range(begins, len(counts)):
            if hour % DAY == 0 and hour > begins:
                self._close_day(highest_one, highest_sustained, highest_count)
                highest_one = highest_sustained = highest_count = 0.0
            after = seasonal_median(self.baseline, hour + 1, self.first)
            expected, highest = (before + now + after) / 3, max(before, now, after)
            before, now = now, after
            count = counts[hour]
            one = 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))
            clipped = min(max(one, -clip), clip)
            old_clipped, old_excess = recent.popleft()
            recent.append((clipped, count - expected))
            sustained += clipped - old_clipped
            excess += count - expected - old_excess
            if one > self.floor and self._is_unusual(hour, expected, highest, one, sustained, excess):
                if hour - self.first >= 3 * WEEK:
                    self.baseline[hour] = min(count, expected)
            else:
                highest_one, highest_sustained = max(highest_one, one), max(highest_sustained, sustained)
                highest_count = max(highest_count, count)
        return self.found

    floor = 1.0
    """No hour below it is looked at: the sustained surprise of an hour that is itself none has been seen before."""

    def _close_day(self, *highest: float) -> None:
        for name, value in zip(self.maxima, highest, strict=True):
            # The last day is left out: what begins to go wrong is not its own measure.
            if len(self.maxima[name]) >= thresholds.SETTLED_DAYS - 1 and name != "count":
                self.tails[name] = Tail.of(self.maxima[name], name)
            self.maxima[name].append(value)

    def _is_unusual(
        self, hour: int, expected: float, highest: float, one: float, sustained: float, excess: float
    ) -> bool:
        count = self.counts[hour]
        if not self.tails:
            return _is_gross(count, expected, highest)
        days = 0.0
        if count - highest >= thresholds.MIN_EXCESS and count > thresholds.MIN_TIMES * highest:
            days = self.tails["hour"].return_days(one)
        if excess >= thresholds.MIN_EXCESS and count > thresholds.SUSTAINED_TIMES * highest:
            days = max(days, self.tails["sustained"].return_days(sustained))
        if days >= thresholds.INFO_RETURN_DAYS and count <= thresholds.MIN_TIMES * _precedent(
            self.baseline, hour, self.first
        ):
            return False
        if days >= thresholds.INFO_RETURN_DAYS:
            busiest = sorted(self.maxima["count"][:-1][-thresholds.CALIBRATION_DAYS :])[-2:][0]
            is_critical = count > thresholds.CRITICAL_TIMES * max(busiest, thresholds.MIN_EXCESS)
            self.found.append(UnusualHour(hour, count, expected, days, is_critical))
        return days >= thresholds.REPLACED_RETURN_DAYS


def new_agents_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """The unusual hours of an agent's first two weeks, in which it has no baseline.

    As many as no healthy client needs; or, once it has two days behind it, many times its busiest hour so far.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        is_young = hour - first >= thresholds.YOUNG_DAYS * DAY
        enough = thresholds.MIN_YOUNG if is_young else thresholds.MIN_NEW
        if counts[hour] >= enough and counts[hour] > thresholds.YOUNG_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), inf))
    return found
