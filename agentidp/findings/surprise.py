"""The unusual hours of an agent, judged on a plain list of counts; each hour by what was known then.

1. Expected: the seasonal median of the hour (:mod:`agentidp.findings.seasonal`).
2. Surprise of the hour: by how much its count exceeds that. Surprise of the day: the sum of the last 24 hours', each
   clipped to 3, so that it takes many hours and not one burst.
3. Rare (:mod:`agentidp.findings.rarity`): an hour by its return period, a day by its z-score. Both compare with the
   agent's own highest surprise on each of the 28 days before, so more is needed of an agent that works in bursts.

An hour that was unusual is in no later baseline; what was expected of it stands in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.rarity import DayToDay, ReturnPeriod
from agentidp.findings.seasonal import Expected, median, precedent, seasonal_median, surprise


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected, and how urgent that is."""

    hour: int
    count: int
    expected: float
    severity: Severity


def unusual_hours(
    counts: Sequence[int], first: int, since: int, *, chances: int = 1, by_day: bool = True
) -> list[UnusualHour]:
    """The unusual hours of an agent, from two weeks after its first day on.

    :param first: the midnight from which on it was active.
    :param since: the midnight from which on its hours matter. The 29 days before make its daily maxima, in half of
        which unusual hours are found too, so that one knows when what goes on began; of what is older only the
        baseline is taken, without gross outliers.
    :param chances: how many lists are judged: each has its chance to be unusual.
    :param by_day: whether the surprise of a day counts too.
    """
    begins = max(first + DAY, since - (thresholds.CALIBRATION_DAYS + 1) * DAY)
    baseline = without_gross_outliers(counts, first, begins)
    return _Judgement(counts, baseline, first, min(chances, thresholds.MAX_CHANCES), by_day).run(begins)


def without_gross_outliers(counts: Sequence[int], first: int, until: int) -> list[float]:
    """The counts; before *until*, what was expected instead of each that is far above it."""
    baseline = [float(count) for count in counts]
    for hour in _tall_hours(counts, first + 3 * WEEK, until):
        expected = Expected.at(baseline, hour, first)
        if is_gross(counts[hour], expected, precedent(baseline, hour, first)):
            baseline[hour] = expected.mean
    return baseline


def _tall_hours(counts: Sequence[int], begins: int, ends: int) -> list[int]:
    """Those that can be gross outliers: a shortcut, since a median of each hour takes long."""
    if begins >= ends:
        return []
    bound = [
        thresholds.GROSS_TIMES * median(list(counts[hour:ends:DAY])) + thresholds.MIN_EXCESS for hour in range(DAY)
    ]
    return [hour for hour in range(begins, ends) if counts[hour] > bound[hour % DAY]]


def is_gross(count: float, expected: Expected, before: float = 0.0) -> bool:
    """Whether a count is far above the expected one, as long as there are no daily maxima to compare with.

    :param before: its precedent.
    """
    is_far = count > thresholds.GROSS_TIMES * expected.highest + thresholds.MIN_EXCESS
    return is_far and surprise(count, max(expected.mean, before)) > thresholds.GROSS_SURPRISE


class LastDay:
    """Sums of the last 24 hours: of their clipped surprises, of their tokens, and of the expected ones."""

    def __init__(self) -> None:
        self.surprise = self.tokens = self.expected = 0.0
        self._hours = deque([(0.0, 0.0, 0.0)] * DAY)

    def add(self, surprise: float, tokens: float, expected: float) -> None:
        """The next hour takes the place of the one a day before."""
        clipped = min(max(surprise, -thresholds.CLIPPED_SURPRISE), thresholds.CLIPPED_SURPRISE)
        old_surprise, old_tokens, old_expected = self._hours.popleft()
        self._hours.append((clipped, tokens, expected))
        self.surprise += clipped - old_surprise
        self.tokens += tokens - old_tokens
        self.expected += expected - old_expected

    def is_raised(self) -> bool:
        """Whether the tokens beyond the expected ones are enough to matter."""
        more = self.tokens - self.expected
        return more >= thresholds.MIN_EXCESS and self.tokens > thresholds.MIN_TIMES * self.expected


class _Judgement:
    """One pass over an agent's hours, in order.

    :param baseline: the counts, in which unusual ones are replaced as the pass goes on.
    """

    def __init__(self, counts: Sequence[int], baseline: list[float], first: int, chances: int, by_day: bool) -> None:
        self.counts, self.baseline, self.first = counts, baseline, first
        self.chances, self.by_day = chances, by_day
        self.z_chances = thresholds.Z_CHANCES * log(chances)
        self.last_day = LastDay()
        self.maxima: dict[str, list[float]] = {"hour": [], "day": [], "tokens": []}
        """Of each day: the highest surprise of an hour and of a day, and the most tokens of an hour."""
        self.today = dict.fromkeys(self.maxima, 0.0)
        self.return_period: ReturnPeriod | None = None
        self.day_to_day: DayToDay | None = None
        self.busiest = 0.0

    def run(self, begins: int) -> list[UnusualHour]:
        found = []
        before, same = (seasonal_median(self.baseline, hour, self.first) for hour in (begins - 1, begins))
        for hour in range(begins, len(self.counts)):
            if hour % DAY == 0 and hour > begins:
                self._end_day(hour)
            after = seasonal_median(self.baseline, hour + 1, self.first)
            expected = Expected.of(before, same, after)
            before, same = same, after
            if (unusual := self._judge(hour, expected)) is not None:
                found.append(unusual)
        return found

    def _end_day(self, now: int) -> None:
        """Fit to the days before this one: what begins to go wrong is not its own measure."""
        days = len(self.maxima["hour"])
        if days >= thresholds.SETTLED_DAYS - 1:
            self.return_period = ReturnPeriod.of(self.maxima["hour"])
            self.busiest = sorted(self.maxima["tokens"][-thresholds.CALIBRATION_DAYS :])[-2]
            if self.by_day and now - self.first >= thresholds.MIN_DAYS_BY_DAY * DAY:
                self.day_to_day = DayToDay.of(self.maxima["day"])
        for name, highest in self.today.items():
            self.maxima[name].append(highest)
            self.today[name] = 0.0

    def _judge(self, hour: int, expected: Expected) -> UnusualHour | None:
        count = self.counts[hour]
        of_hour = surprise(count, expected.mean)
        self.last_day.add(of_hour, count, expected.mean)
        days = self._return_days(hour, expected, of_hour)
        severity = self._severity(count, days, self._z_score() if of_hour > 0 else 0.0)
        if severity or (self.return_period is None and is_gross(count, expected)):
            if hour - self.first >= 3 * WEEK:
                self.baseline[hour] = min(count, expected.mean)
        else:
            self._see(of_hour, count)
        return UnusualHour(hour, count, expected.mean, severity) if severity else None

    def _return_days(self, hour: int, expected: Expected, of_hour: float) -> float:
        """In how many days such an hour comes once; zero of one with too few tokens to matter, or with a precedent."""
        count = self.counts[hour]
        enough = max(expected.highest + thresholds.MIN_EXCESS, thresholds.MIN_TIMES * expected.highest)
        if self.return_period is None or count < enough:
            return 0.0
        has_precedent = count <= thresholds.MIN_TIMES * precedent(self.baseline, hour, self.first)
        return 0.0 if has_precedent else self.return_period.days(of_hour)

    def _z_score(self) -> float:
        """Of the last 24 hours' surprise; zero if their tokens are too few to matter."""
        if self.day_to_day is None or not self.last_day.is_raised():
            return 0.0
        return self.day_to_day.z_score(self.last_day.surprise)

    def _severity(self, count: int, return_days: float, z_score: float) -> Severity | None:
        days, z_score = return_days / self.chances, z_score - self.z_chances
        if days < thresholds.INFO_RETURN_DAYS and z_score < thresholds.INFO_Z_SCORE:
            return None
        if days < thresholds.WARNING_RETURN_DAYS and z_score < thresholds.WARNING_Z_SCORE:
            return Severity.info
        is_critical = count > thresholds.CRITICAL_TIMES * max(self.busiest, thresholds.MIN_EXCESS)
        return Severity.critical if is_critical else Severity.warning

    def _see(self, of_hour: float, count: int) -> None:
        today = self.today
        if of_hour > today["hour"]:
            today["hour"] = of_hour
        if self.last_day.surprise > today["day"]:
            today["day"] = self.last_day.surprise
        if count > today["tokens"]:
            today["tokens"] = count


def new_agents_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """The unusual hours of an agent's first two weeks, in which it has no baseline.

    As many tokens as no healthy client needs, fewer once it has two days behind it, and many times its busiest hour so
    far.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        has_two_days = hour - first >= thresholds.YOUNG_DAYS * DAY
        enough = thresholds.MIN_YOUNG if has_two_days else thresholds.MIN_NEW
        if counts[hour] >= enough and counts[hour] > thresholds.YOUNG_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found
