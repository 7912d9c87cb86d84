"""The unusual hours of a list of counts, each judged by what was known before it.

1. Expected is the seasonal median: of the same hour of the week in 8 weeks, averaged with the hours beside it.
2. The surprise of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)): standard deviations of a Poisson count. What
   lasts is the surprise that the hour and five others of the last 24 reach: a single burst does not count. That of a
   day is the sum of its 24 hours', each clipped to 3: a little more in many hours.
3. Each is compared with the agent's highest one of each of the 28 days before. An hour is unusual by its own return
   period, by the z-score of the day that ends with it, or by that of what lasts.
4. What this hour of the week, or one beside it, had before has a precedent and is usual, such as a weekly job. So has
   work of the month's end, at the ends of earlier months.
5. An hour that was unusual becomes no baseline: what was expected of it takes its place.
6. A new agent has no baseline in its first two weeks, and is judged by fixed limits.

There are two statistics, because the tails differ. The surprise of an hour has a heavy tail in agents that work in
bursts: its return period is Weissman's extrapolation. That of a day is a sum of clipped values, and what lasts is
reached by six hours: they have no such tail, and z-scores. Example: on a quarter of its days an agent has an hour with
a surprise of 4 or more, and its tail index is 0.2. A surprise of 8.9 comes once in 4 (8.9 / 4) ** 5 = 218 days.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import exp, inf, log, sqrt
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, first_active_day
from agentidp.findings.seasonal import expected_tokens, mean_of_three, median, precedent, seasonal_median, surprise


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


@dataclass(frozen=True)
class ReturnPeriod:
    """Weissman's extrapolation of daily maxima: in how many days a value comes once.

    ``base`` is the highest of the maxima below the tail: it is exceeded on TAIL_DAYS of CALIBRATION_DAYS. So a value x
    above it comes once in CALIBRATION_DAYS / TAIL_DAYS * (x / base) ** (1 / index) days. The index of a bursty agent is
    high.
    """

    base: float
    index: float

    @classmethod
    def of(cls, maxima: Sequence[float]) -> ReturnPeriod:
        """Fit it to the last CALIBRATION_DAYS: Hill's estimate of the index from TAIL_DAYS of them, with a prior."""
        recent = [max(one, thresholds.MIN_HOUR_SURPRISE) for one in maxima[-thresholds.CALIBRATION_DAYS :]]
        *highest, base = sorted(recent, reverse=True)[: thresholds.TAIL_DAYS + 1]
        hill, weight = sum(log(one / base) for one in highest), thresholds.PRIOR_WEIGHT
        return cls(base, (hill + weight * thresholds.PRIOR_INDEX) / (len(highest) + weight))

    def days(self, value: float) -> float:
        """In how many days such a value comes once; zero if it is not above ``base``."""
        if value <= self.base:
            return 0.0
        exponent = log(value / self.base) / self.index
        # The exponential of more than 709 is no float.
        return exp(exponent) * thresholds.CALIBRATION_DAYS / thresholds.TAIL_DAYS if exponent < 700 else inf


@dataclass(frozen=True)
class ZScore:
    """How many standard deviations a value is above the median of daily maxima."""

    median: float
    deviation: float

    @classmethod
    def of(cls, maxima: Sequence[float], min_deviation: float) -> ZScore:
        """Fit it to the last CALIBRATION_DAYS."""
        recent = list(maxima[-thresholds.CALIBRATION_DAYS :])
        middle = median(recent)
        variance = sum((one - middle) ** 2 for one in recent) / len(recent)
        return cls(middle, max(sqrt(variance), min_deviation))

    def score(self, value: float) -> float:
        """The z-score of a value."""
        return (value - self.median) / self.deviation


@dataclass(slots=True)
class _Maxima:
    """The highest surprises and the most tokens of a day's ordinary hours, named as in :meth:`DailyMaxima.add`."""

    of_hour: float = 0.0
    of_day: float = 0.0
    lasting: float = 0.0
    tokens: float = 0.0


class DailyMaxima:
    """The highest surprises of each day, and the statistics that are fitted to them each midnight.

    What begins to go wrong must not become its own measure, so the day before is left out of each fit, and so are the
    hours that were unusual.
    """

    def __init__(self) -> None:
        self.return_period: ReturnPeriod | None = None
        """Of an hour's surprise."""

        self.of_day: ZScore | None = None
        """Of a day's surprise."""

        self.lasting: ZScore | None = None
        """Of the surprise that an hour and five others of 24 reach."""

        self.busiest = 0.0
        """The second-highest daily maximum of an hour's tokens."""

        self._days: list[_Maxima] = []
        self._today = _Maxima()

    @property
    def lasting_today(self) -> float:
        """The highest surprise so far that an hour of today and five others of its 24 reached."""
        return self._today.lasting

    def add(self, of_hour: float, of_day: float, lasting: float, tokens: float) -> None:
        """Take in an ordinary hour: its surprise, those of the 24 hours that end with it, and its tokens."""
        today = self._today
        if of_hour > today.of_hour:
            today.of_hour = of_hour
        if of_day > today.of_day:
            today.of_day = of_day
        if lasting > today.lasting:
            today.lasting = lasting
        if tokens > today.tokens:
            today.tokens = tokens

    def end_day(self) -> None:
        """Fit the statistics to the days before the one that ends, and then take it in."""
        if len(self._days) >= thresholds.SETTLED_DAYS - 1:
            recent = self._days[-thresholds.CALIBRATION_DAYS :]
            self.return_period = ReturnPeriod.of([day.of_hour for day in recent])
            self.of_day = ZScore.of([day.of_day for day in recent], thresholds.MIN_DAY_DEVIATION)
            self.lasting = ZScore.of([day.lasting for day in recent], thresholds.MIN_LASTING_DEVIATION)
            self.busiest = sorted(day.tokens for day in recent)[-2]
        self._days.append(self._today)
        self._today = _Maxima()


def without_gross_outliers(counts: Sequence[int], first: int, until: int) -> list[float]:
    """The counts; before *until*, the expected ones in place of gross outliers.

    Such hours must not become the baseline, although no statistic is fitted to them yet.

    :param first: the hour from which on there is something to compare with.
    """
    baseline = [float(count) for count in counts]
    for hour in _tall_hours(counts, first + thresholds.MIN_SEASON_WEEKS * WEEK, until):
        expected = expected_tokens(baseline, hour, first)
        if is_gross(counts[hour], max(expected, precedent(baseline, hour, first))):
            baseline[hour] = expected
    return baseline


def is_gross(count: float, expected: float) -> bool:
    """Whether a count is a gross outlier: above 3 times what is expected or had a precedent, and 30 more."""
    return count > thresholds.GROSS_TIMES * expected + thresholds.MIN_EXCESS


def _tall_hours(counts: Sequence[int], begins: int, ends: int) -> list[int]:
    """Those far above the median of their hour of the day: a shortcut, since the seasonal median of each takes long."""
    if begins >= ends:
        return []
    usual = [median(list(counts[hour:ends:DAY])) for hour in range(DAY)]
    return [hour for hour in range(begins, ends) if is_gross(counts[hour], usual[hour % DAY])]


def newcomers_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Hours with more tokens than any healthy client needs, above 8 times the busiest hour up to the day before.

    :param first: the midnight of the first day with any count.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        if counts[hour] >= thresholds.MIN_NEW and counts[hour] > thresholds.NEW_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found


def without_month_ends(hours: list[UnusualHour], counts: Sequence[int], first_day: date) -> list[UnusualHour]:
    """The hours without those within three days of the end of a month that the end of each month before had as well.

    :param counts: by the hour, from the midnight of *first_day* on.
    """
    return [
        one
        for one in hours
        if month_end(one.hour, first_day) is None
        or one.count > thresholds.MIN_TIMES * month_end_precedent(counts, one.hour, first_day)
    ]


def month_end(hour: int, first_day: date) -> date | None:
    """The first of the month that begins within three days of an hour; ``None`` if none does."""
    day = first_day + timedelta(days=hour // DAY + thresholds.MONTH_END_DAYS)
    return day.replace(day=1) if day.day <= 2 * thresholds.MONTH_END_DAYS else None


def month_end_precedent(counts: Sequence[int], hour: int, first_day: date) -> int:
    """The count at this hour of the day, or one beside it, at the end of an earlier month: of the least of them.

    An incident at the end of one month is no precedent if there was none at the end of another.
    """
    highest: dict[date, int] = {}
    for before in range(hour - DAY, first_active_day(counts) or 0, -DAY):
        month = month_end(before, first_day)
        if month is not None and month != month_end(hour, first_day):
            highest[month] = max(highest.get(month, 0), *counts[before - 1 : before + 2])
    return min(highest.values(), default=0)
