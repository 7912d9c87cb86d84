"""The unusual hours of a list of counts, each judged by what was known before it.

Statistics: the return period of an hour's surprise, and the z-score of a day's (:mod:`agentidp.findings.rarity`).

1. Expected is the seasonal median: of the same hour of the week in 8 weeks, averaged with the hours beside it.
2. The surprise of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)), that of a day the sum of its 24 hours', each
   clipped to 3. They are compared with the agent's highest ones of each of the 28 days before.
3. An hour is unusual by its return period. After a busy day more is expected of it, up to twice as much.
4. An hour at the end of an unusual day is unusual by the z-score of that day.
5. An hour that was unusual becomes no baseline: what was expected of it takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.outliers import is_gross, without_gross_outliers
from agentidp.findings.rarity import DailyMaxima
from agentidp.findings.seasonal import Expected, precedent, seasonal_median, surprise


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected, and how urgent that is."""

    hour: int
    count: int
    expected: float
    severity: Severity


def unusual_hours(
    counts: Sequence[int], first: int, since: int, *, agents: int = 1, by_day: bool = True
) -> list[UnusualHour]:
    """The unusual hours, from two weeks after the first day on.

    :param first: the midnight of the first day with any count.
    :param since: the midnight from which on hours matter. Judging begins 29 days before it, because 28 days of maxima
        must be known by then. Once the first two weeks have passed, unusual hours are returned although they are before
        *since*: what goes on at *since* shows there when it began.
    :param agents: how many lists are judged. Each has its chance to be unusual, so more is needed of each.
    :param by_day: whether the surprise of a day counts too.
    """
    begins = max(first + DAY, since - (thresholds.CALIBRATION_DAYS + 1) * DAY)
    baseline = without_gross_outliers(counts, first, begins)
    judge = _Judge(counts, baseline, first, min(agents, thresholds.MAX_CHANCES), by_day)
    found = []
    before, same = (seasonal_median(baseline, hour, first) for hour in (begins - 1, begins))
    for hour in range(begins, len(counts)):
        if hour % DAY == 0 and hour > begins:
            judge.maxima.end_day()
        after = seasonal_median(baseline, hour + 1, first)
        unusual = judge.judge(hour, Expected.of(before, same, after))
        before, same = same, after
        if unusual is not None:
            found.append(unusual)
    return found


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


def level(tokens: float, expected: float) -> float:
    """How many times the expected tokens of a day there were, from 1 to 2."""
    few = thresholds.LEVEL_TOKENS
    return min(max((tokens + few) / (expected + few), 1.0), thresholds.MAX_LEVEL)


class _Judge:
    """Judges one hour after the other.

    :param baseline: the counts; the judge replaces those of unusual hours in it.
    """

    def __init__(self, counts: Sequence[int], baseline: list[float], first: int, agents: int, by_day: bool) -> None:
        self.counts, self.baseline, self.first = counts, baseline, first
        self.agents, self.by_day = agents, by_day
        self.maxima, self.last_day = DailyMaxima(), LastDay()

    def judge(self, hour: int, expected: Expected) -> UnusualHour | None:
        """Whether an hour is unusual. The hour then counts as known: it joins the baseline or is replaced in it, and
        joins the maxima of its day or does not.
        """
        count = self.counts[hour]
        of_hour, day_before = surprise(count, expected.mean), (self.last_day.tokens, self.last_day.expected)
        self.last_day.add(of_hour, count, expected.mean)
        days = self._return_days(hour, expected, day_before)
        z_score = self._z_score(hour) if of_hour > 0 else 0.0
        severity = severity_of(days, z_score, self.agents)
        # Before the first maxima are known, a gross outlier is kept out of the baseline and not reported.
        if severity or (self.maxima.return_period is None and is_gross(count, expected)):
            if hour - self.first >= thresholds.MIN_SEASON_WEEKS * WEEK:
                self.baseline[hour] = min(count, expected.mean)
        else:
            self.maxima.add(of_hour, self.last_day.surprise, count)
        if severity is None:
            return None
        is_critical = count > thresholds.CRITICAL_TIMES * max(self.maxima.busiest, thresholds.MIN_EXCESS)
        if severity is Severity.warning and is_critical:
            severity = Severity.critical
        return UnusualHour(hour, count, expected.mean, severity)

    def _return_days(self, hour: int, expected: Expected, day_before: tuple[float, float]) -> float:
        """The return period of an hour; zero if it has too few tokens to matter, or a precedent."""
        count, return_period = self.counts[hour], self.maxima.return_period
        enough = max(expected.highest + thresholds.MIN_EXCESS, thresholds.MIN_TIMES * expected.highest)
        if return_period is None or count < enough:
            return 0.0
        has_precedent = count <= thresholds.MIN_TIMES * precedent(self.baseline, hour, self.first)
        return 0.0 if has_precedent else return_period.days(surprise(count, level(*day_before) * expected.mean))

    def _z_score(self, hour: int) -> float:
        """The z-score of the last 24 hours; zero if their tokens are too few to matter."""
        # A fit is of the days up to the last midnight.
        is_known = hour // DAY * DAY - self.first >= thresholds.MIN_DAYS_BY_DAY * DAY
        if not self.by_day or not is_known or self.maxima.z_score is None or not self.last_day.is_raised():
            return 0.0
        return self.maxima.z_score.score(self.last_day.surprise)


def severity_of(return_days: float, z_score: float, agents: int) -> Severity | None:
    """How urgent an hour is, of one of so many agents: ``None``, ``info`` or ``warning``."""
    days, z_score = return_days / agents, z_score - thresholds.Z_CHANCES * log(agents)
    if days >= thresholds.WARNING_RETURN_DAYS or z_score >= thresholds.WARNING_Z_SCORE:
        return Severity.warning
    if days >= thresholds.INFO_RETURN_DAYS or z_score >= thresholds.INFO_Z_SCORE:
        return Severity.info
    return None
