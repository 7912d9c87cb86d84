"""The unusual hours of a list of counts, each judged by what was known before it.

Statistics: the return period of an hour's surprise, and the z-scores of a day's and of what lasts for hours
(:mod:`agentidp.findings.rarity`).

1. Expected is the seasonal median: of the same hour of the week in 8 weeks, averaged with the hours beside it.
2. The surprise of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)): standard deviations of a Poisson count. What
   lasts is the surprise that the hour and five others of the last 24 reach: a single burst does not count. That of a
   day is the sum of its 24 hours', each clipped to 3: a little more in many hours.
3. Each is compared with the agent's highest one of each of the 28 days before. An hour is unusual by its own return
   period, by the z-score of the day that ends with it, or by that of what lasts.
4. What this hour of the week, or one beside it, had before has a precedent and is usual, such as a weekly job.
5. An hour that was unusual becomes no baseline: what was expected of it takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.outliers import is_gross, without_gross_outliers
from agentidp.findings.rarity import DailyMaxima
from agentidp.findings.seasonal import mean_of_three, precedent, seasonal_median, surprise


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected, and how urgent that is."""

    hour: int
    count: int
    expected: float
    severity: Severity


def unusual_hours(
    counts: Sequence[int], first: int, since: int, *, number_of_lists: int = 1, by_day: bool = True
) -> list[UnusualHour]:
    """The unusual hours, from two weeks after the first day on.

    :param first: the midnight of the first day with any count.
    :param since: the midnight from which on hours matter. Judging begins 30 days before it, because 28 days of maxima
        must be known by then. The day before is not among them, and of the first day the last 24 hours are not known,
        so it is too low. Unusual hours before *since* are returned as well, so that one can see when a spike began
        that is running at *since*.
    :param number_of_lists: how many lists of counts are judged, this one included. Each has its chance to exceed a
        limit, so the limits rise with their number.
    :param by_day: whether the last 24 hours together count too.
    """
    begins = max(first + DAY, since - (thresholds.CALIBRATION_DAYS + 2) * DAY)
    baseline = without_gross_outliers(counts, first, begins)
    # The judge reads this baseline too, and so sees what takes the place of an unusual hour below.
    judge = _Judge(baseline, first, min(number_of_lists, thresholds.MAX_CHANCES), by_day)
    found = []
    # The medians of the hour before, of the hour itself and of the hour after. Each is taken once, and moves on with
    # the hour: a later change of the baseline does not change it.
    before, same = seasonal_median(baseline, begins - 1, first), seasonal_median(baseline, begins, first)
    for hour in range(begins, len(counts)):
        if hour % DAY == 0 and hour > begins:
            judge.maxima.end_day()
        after = seasonal_median(baseline, hour + 1, first)
        expected = mean_of_three(before, same, after)
        verdict = judge.judge_next(hour, counts[hour], expected)
        if verdict.severity:
            found.append(UnusualHour(hour, counts[hour], expected, verdict.severity))
        if not verdict.is_ordinary and hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK:
            baseline[hour] = min(counts[hour], expected)
        before, same = same, after
    return found


def matters(tokens: float, expected: float) -> bool:
    """Whether the tokens beyond the expected ones, of an hour or a day, are enough to matter, however rare they are."""
    return tokens >= expected + thresholds.MIN_EXCESS and tokens >= thresholds.MIN_TIMES * expected


def severity_of(return_days: float, z_score: float, number_of_lists: int) -> Severity | None:
    """How urgent an hour is, of one of so many lists of counts: ``None``, ``info`` or ``warning``."""
    days, z_score = return_days / number_of_lists, z_score - thresholds.Z_CHANCES * log(number_of_lists)
    if days >= thresholds.WARNING_RETURN_DAYS or z_score >= thresholds.WARNING_Z_SCORE:
        return Severity.warning
    if days >= thresholds.INFO_RETURN_DAYS or z_score >= thresholds.INFO_Z_SCORE:
        return Severity.info
    return None


class LastDay:
    """Sums of the last 24 hours: of their clipped surprises, of their tokens, and of the expected ones."""

    def __init__(self) -> None:
        self.surprise = self.tokens = self.expected = 0.0
        self._hours = deque([(0.0, 0.0, 0.0)] * DAY)
        self._surprises = deque([0.0] * DAY, maxlen=DAY)

    def add(self, surprise: float, tokens: float, expected: float) -> None:
        """The next hour takes the place of the one a day before."""
        clipped = min(max(surprise, -thresholds.CLIPPED_SURPRISE), thresholds.CLIPPED_SURPRISE)
        old_surprise, old_tokens, old_expected = self._hours.popleft()
        self._hours.append((clipped, tokens, expected))
        self.surprise += clipped - old_surprise
        self.tokens += tokens - old_tokens
        self.expected += expected - old_expected
        self._surprises.append(surprise)

    def lasting(self) -> float:
        """The surprise that the last hour and at least five others reach."""
        return min(sorted(self._surprises)[-thresholds.LASTING_HOURS], self._surprises[-1])


class _Verdict(NamedTuple):
    """How urgent an hour is, ``None`` if it is not, and whether it is ordinary, so that it belongs to the baseline.

    Before any maxima are known, a gross outlier is not ordinary, although it is not reported.
    """

    severity: Severity | None
    is_ordinary: bool


_ORDINARY = _Verdict(None, is_ordinary=True)
"""The verdict on nearly every hour."""


class _Judge:
    """Judges one hour after the other, by the hours before it.

    :param baseline: the counts without what was unusual; :func:`unusual_hours` changes it between two hours.
    """

    def __init__(self, baseline: Sequence[float], first: int, number_of_lists: int, by_day: bool) -> None:
        self.baseline, self.first, self.number_of_lists, self.by_day = baseline, first, number_of_lists, by_day
        self.maxima, self.last_day = DailyMaxima(), LastDay()

    def judge_next(self, hour: int, count: int, expected: float) -> _Verdict:
        """Add the hour after the last one to ``last_day``, judge it, and add it to ``maxima`` if it is ordinary."""
        of_hour = surprise(count, expected)
        self.last_day.add(of_hour, count, expected)
        # What lasts is no more than this hour.
        lasting = self.last_day.lasting() if of_hour > self.maxima.lasting_today else 0.0
        is_judged = matters(count, expected) and not self._has_precedent(hour, count)
        days = self._return_days(of_hour) if is_judged else 0.0
        z_score = self._z_score(hour, count, of_hour, lasting) if of_hour > 0 else 0.0
        severity = severity_of(days, z_score, self.number_of_lists)
        is_ordinary = severity is None and not (self.maxima.return_period is None and is_gross(count, expected))
        if is_ordinary:
            self.maxima.add(of_hour, self.last_day.surprise, lasting, count)
            return _ORDINARY
        if severity is Severity.warning and self._is_critical(count):
            severity = Severity.critical
        return _Verdict(severity, is_ordinary=False)

    def _return_days(self, of_hour: float) -> float:
        """The return period of an hour's surprise; zero while none can be fitted."""
        return self.maxima.return_period.days(of_hour) if self.maxima.return_period else 0.0

    def _z_score(self, hour: int, count: int, of_hour: float, lasting: float) -> float:
        """That of the last 24 hours, of their sum or of what lasts; zero if their tokens are too few to matter."""
        of_day, of_lasting = self.maxima.of_day, self.maxima.lasting
        # A fit is of the days up to the last midnight.
        is_known = hour // DAY * DAY - self.first >= thresholds.MIN_DAYS_BY_DAY * DAY
        has_enough = matters(self.last_day.tokens, self.last_day.expected)
        if not self.by_day or not is_known or not of_day or not of_lasting or not has_enough:
            return 0.0
        sums = of_day.score(self.last_day.surprise)
        lasts = of_lasting.score(lasting) if lasting > 0 else 0.0
        # What lasts must be no weekly job.
        return sums if lasts < thresholds.INFO_Z_SCORE or self._has_precedent(hour, count) else max(sums, lasts)

    def _has_precedent(self, hour: int, count: int) -> bool:
        return count <= thresholds.MIN_TIMES * precedent(self.baseline, hour, self.first)

    def _is_critical(self, count: int) -> bool:
        return count > thresholds.CRITICAL_TIMES * max(self.maxima.busiest, thresholds.MIN_EXCESS)
