"""The unusual hours of a list of counts, each judged by what was known before it.

1. **Expected** of an hour is the median of the same hour of the week in 8 weeks, averaged with the hours beside it if
   these are alike.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)): standard deviations of a Poisson count.
   That of the last eight hours is the same of their sums. **Three nights** are eight hours at the same time of three
   days, and as surprising as the least of them.
3. Each is compared with what is **usual**: the third-highest of the daily maxima of 35 days. So an agent whose counts
   jump about has a high limit. From a multiple of that on (``thresholds.SPIKE_RULES``) it is reported. The limits rise
   with the number of lists, for each may exceed one by chance.
4. It must also **matter**: 30 tokens more than expected, and 2.2 times as many in an hour, also of what is expected of
   the hours beside it, for clocks go forward; 1.5 times in eight hours, two of which must be raised, and 3 times in
   three nights, six hours of each raised. An hour is raised if it has a surprise of 1.
5. It is a warning if it is also more than 1.7 times as surprising as any day of the five weeks before the spike. What
   has happened **before** is only listed. An
   agent that works in **runs**, in less than a quarter of its hours, may do at any time what it did at another: its
   surprises are then those of its tokens alone. An hour that is critical, or has 500 tokens more than expected, is
   rather a **loop**: it is only listed if it came at this time of the day more than a week ago, for eight hours at
   most, as a job of each second week or month does.
6. An hour that was unusual becomes no baseline: what was expected of it takes its place. But what goes on for five days
   is a **new level**: later hours are also compared with the median of the same hour of these days.
7. A new agent has no baseline in its first two weeks, and is judged by fixed limits. Eight hours and three nights are
   judged from its first month on.

Example: 20 tokens are expected of each hour, and on the three highest of 35 days the highest surprise of an hour was
4.2, and that of 8 hours 4.5. In a list of its own, 60 tokens in an hour have a surprise of 6.5, which is 1.5 times 4.2
and listed. 70 have one of 7.8, 1.8 times 4.2: a warning. If somebody who has the secret takes 20 more in
each hour, 8 hours have 320 tokens of 160: a surprise of 10.5, which is 2.3 times 4.5 and a warning, although no hour is
unusual. If an agent works in bursts, and on its highest days the highest surprise of three nights was 3.0, then 4
tokens in each hour of three nights in which none is expected have one of 10.2, 3.4 times 3.0: a warning, although a
single night often has as many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, median

# What is expected.


def seasonal_median(counts: list[float], hour: int, first: int = 0) -> float:
    """The median of the same hour of the week in 8 weeks; with fewer than 3 weeks, of the hour of the day in 14 days.

    :param first: the hour from which on there is something to compare with.
    """
    if hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK:
        return median(counts[max(first + (hour - first) % WEEK, hour - thresholds.SEASON_WEEKS * WEEK) : hour : WEEK])
    return median(counts[max(first + (hour - first) % DAY, hour - thresholds.SEASON_DAYS * DAY) : hour : DAY])


def mean_of_three(before: float, same: float, after: float) -> float:
    """What is expected of an hour: the mean of the seasonal medians of it and of those beside it, if they are alike.

    Beside an hourly job they are not, and the mean would be neither that of the job nor that of the hours beside it.
    """
    are_alike = max(before, same, after) <= thresholds.ALIKE_TIMES * min(before, same, after) + thresholds.ALIKE_EXCESS
    return (before + same + after) / 3 if are_alike else same


def surprise(count: float, expected: float) -> float:
    """About how many standard deviations a Poisson count is above its expectation, at any level."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def is_gross(count: float, expected: float) -> bool:
    """Whether a count is a gross outlier: more than 3 times what is expected and 30."""
    return count > thresholds.GROSS_TIMES * expected + thresholds.MIN_EXCESS


def without_gross_outliers(counts: Sequence[int], first: int, until: int) -> list[float]:
    """The counts; before *until*, the expected ones in place of gross outliers, which must not become the baseline.

    :param first: the hour from which on there is something to compare with.
    """
    baseline = [float(count) for count in counts]
    for hour in range(first + thresholds.MIN_SEASON_WEEKS * WEEK, until):
        # No smaller count is one, which saves the median.
        if is_gross(counts[hour], 0) and is_gross(counts[hour], expected := seasonal_median(baseline, hour, first)):
            baseline[hour] = expected
    return baseline


# What is unusual.

NIGHT = 8  # hours whose sum is judged


class Sum(NamedTuple):
    """The tokens of one or more hours, the expected ones, and how surprising that is."""

    tokens: float
    expected: float
    surprise: float


class Reason(NamedTuple):
    """The last hours that decided, on how many days, with their tokens and the expected ones; and, if these are only
    listed, the first hour of the day that was as surprising before.
    """

    hours: int
    tokens: int
    expected: int
    days: int = 1
    before: int | None = None


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected, how urgent that is, and by which rule."""

    hour: int
    count: int
    expected: float
    severity: Severity
    reason: Reason | None = None


def unusual_hours(
    counts: Sequence[int], first: int, since: int, *, number_of_lists: int = 1, by_day: bool = True
) -> list[UnusualHour]:
    """The unusual hours, from two weeks after the first day on.

    :param first: the midnight of the first day with any count.
    :param since: the midnight from which on hours matter. Judging begins 37 days before it, because 35 days of maxima
        must be known by then. The day before is not among them, and of the first day the last eight hours are not
        known, so it is too low. Unusual hours before *since* are returned as well, so that one can see when a spike
        began that is running at *since*.
    :param number_of_lists: how many lists of counts are judged, this one included.
    :param by_day: whether the sums of eight hours count too.
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
            judged_by = max(expected, judge.maxima.level[hour % DAY])
            found.append(UnusualHour(hour, counts[hour], judged_by, verdict.severity, verdict.reason))
        if not verdict.is_ordinary and hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK:
            baseline[hour] = min(counts[hour], expected)
        before, same = same, after
    return found


class _Verdict(NamedTuple):
    """How urgent an hour is, ``None`` if it is not, and whether it is ordinary, so that it belongs to the baseline."""

    severity: Severity | None
    is_ordinary: bool
    reason: Reason | None = None


class _Judge:
    """Judges one hour after the other, by the hours before it.

    :param baseline: the counts without what was unusual; :func:`unusual_hours` changes it between two hours.
    """

    def __init__(self, baseline: list[float], first: int, number_of_lists: int, by_day: bool) -> None:
        self.baseline, self.first, self.number_of_lists, self.by_day = baseline, first, number_of_lists, by_day
        self.maxima, self.last_day = DailyMaxima(), LastHours()

    def judge_next(self, hour: int, count: int, expected: float) -> _Verdict:
        """Judge the hour after the last one, and take it in."""
        maxima, last = self.maxima, self.last_day
        last.add(count, max(expected, maxima.level[hour % DAY]))
        of_hour, night = last.hour(), last.night()
        is_full = night.surprise > 0 and last.raised() >= thresholds.MIN_NIGHT_HOURS
        sums = (of_hour, night, maxima.three_nights(night, is_full))
        severity, reason = None, None
        if maxima.usual and sums[0].surprise >= 1:
            for place in range(len(sums) if self.by_day else 1):
                found, before = self._severity(hour, place, sums[place])
                if found and (severity is None or found > severity):
                    rule = thresholds.SPIKE_RULES[place]
                    tokens, of_expected = round(sums[place].tokens), round(sums[place].expected)
                    severity, reason = found, Reason(rule.hours, tokens, of_expected, rule.days, before)
        # Before any maxima are known, a gross outlier is no baseline, but it says how much the counts jump about.
        is_ordinary = severity is None and (bool(maxima.usual) or not is_gross(count, expected))
        maxima.add(SeenHour(count, expected, sums, is_full, is_ordinary, severity is not None))
        if reason and reason.hours == 1:
            last.forget()
        return _Verdict(severity, is_ordinary, reason)

    def _severity(self, hour: int, place: int, one: Sum) -> tuple[Severity | None, int | None]:
        """How urgent a sum is by its rule; if it is only listed, the first hour of the day that was as surprising."""
        rule, maxima = thresholds.SPIKE_RULES[place], self.maxima
        limit = rule.times * max(maxima.usual[place], rule.min_usual) * self.number_of_lists**rule.lists_exponent
        if one.surprise < limit or hour // DAY * DAY - self.first < rule.min_days * DAY:
            return None, None
        expected = one.expected
        if rule.hours == 1:
            beside = (seasonal_median(self.baseline, near, self.first) for near in (hour - 1, hour + 1))
            expected = max(expected, *beside)
        if 4 * self.last_day.raised() < rule.hours or not matters(one.tokens, expected, rule.min_times):
            return None, None
        busiest = max(maxima.busiest, thresholds.MIN_EXCESS)
        is_critical = rule.hours == 1 and one.tokens > thresholds.CRITICAL_TIMES * busiest
        is_loop = is_critical or (rule.hours == 1 and one.tokens >= expected + thresholds.MIN_LOOP)
        days_ago = maxima.days_since_job(one) if is_loop else maxima.days_since(place, one)
        if days_ago is not None:
            return Severity.info, (hour // DAY - days_ago) * DAY
        return Severity.critical if is_critical else Severity.warning, None


def matters(tokens: float, expected: float, times: float) -> bool:
    """Whether the tokens beyond the expected ones are enough to matter, however rare they are."""
    return tokens >= expected + thresholds.MIN_EXCESS and tokens >= times * expected


# What is known of the hours before.


class LastHours:
    """The last eight hours."""

    def __init__(self) -> None:
        self._hours = deque([(0.0, 0.0)] * NIGHT)
        self._surprises = deque([0.0] * NIGHT, maxlen=NIGHT)

    def add(self, tokens: float, expected: float) -> None:
        """The next hour takes the place of the first one."""
        self._hours.append((tokens, expected))
        self._hours.popleft()
        self._surprises.append(surprise(tokens, expected))

    def forget(self) -> None:
        """Count the last hour as expected: what was a warning by itself makes no sum of later hours unusual."""
        self._hours[-1] = (self._hours[-1][1],) * 2

    def hour(self) -> Sum:
        """The last one."""
        return Sum(*self._hours[-1], self._surprises[-1])

    def night(self) -> Sum:
        """All of them."""
        tokens, expected = map(sum, zip(*self._hours, strict=True))
        return Sum(tokens, expected, surprise(tokens, expected))

    def raised(self) -> int:
        """How many of them have at least one standard deviation more than expected."""
        return sum(1 for one in self._surprises if one >= 1)


class SeenHour(NamedTuple):
    """An hour that was judged, with its sum by each rule, and whether the eight hours that end with it are raised."""

    tokens: float
    expected: float
    sums: tuple[Sum, ...]
    is_full: bool
    is_ordinary: bool
    is_unusual: bool


class Day:
    """A day that was judged. Unusual hours are no measure of others, and count in ``highest`` alone."""

    def __init__(self, hours: list[SeenHour]) -> None:
        self.hours = hours
        usual, by_rule = [hour for hour in hours if not hour.is_unusual], range(len(thresholds.SPIKE_RULES))
        self.is_unusual = len(usual) < len(hours)
        self.surprises = [max((hour.sums[place].surprise for hour in usual), default=0.0) for place in by_rule]
        self.highest = [max(hour.sums[place].surprise for hour in hours) for place in by_rule]
        self.from_zero = [max(surprise(hour.sums[place].tokens, 0) for hour in hours) for place in by_rule]
        self.busiest = max((hour.tokens for hour in hours if hour.is_ordinary), default=0.0)
        self.active = sum(1 for hour in usual if hour.tokens)
        self.expected = sum(hour.expected for hour in hours)


NO_LEVEL = [0.0] * DAY


class DailyMaxima:
    """What each day had, and what is usual by that; fitted each midnight.

    What begins to go wrong must not become its own measure, so the day before is left out of each fit.
    """

    def __init__(self) -> None:
        # By rule, the third-highest surprise of a day; empty while too few days are known.
        self.usual: list[float] = []
        # By rule, the highest surprise of a day that was over before the spike that is running, and which day. Of an
        # agent that works in runs, active in few of its hours, the surprise of the tokens alone.
        self.highest: list[tuple[float, int]] = []
        self.works_in_runs = False
        # The second-highest daily maximum of an hour's tokens.
        self.busiest = 0.0
        # By hour of the day, what is expected at least, since a new level began.
        self.level = NO_LEVEL
        self._days: list[Day] = []
        self._today: list[SeenHour] = []

    def three_nights(self, night: Sum, is_full: bool) -> Sum:
        """The eight hours that end with the next hour of today, with the same hours of the two days before."""
        place = len(self._today)
        nights = [day.hours[place] for day in self._days[-2:]]
        if not is_full or len(nights) < 2 or not all(hour.is_full for hour in nights):
            return Sum(0.0, 0.0, 0.0)
        sums = [night, *(hour.sums[1] for hour in nights)]
        return Sum(
            sum(one.tokens for one in sums), sum(one.expected for one in sums), min(one.surprise for one in sums)
        )

    def days_since(self, place: int, one: Sum) -> int | None:
        """How many days ago the sum of the rule at a place was about as surprising; ``None`` if it never was."""
        now = surprise(one.tokens, 0) if self.works_in_runs else one.surprise
        highest, day = self.highest[place]
        return len(self._days) - day if highest >= thresholds.BEFORE_TIMES * now else None

    def days_since_job(self, one: Sum) -> int | None:
        """The same of an hour at this time of the day, or one beside it; ``None`` also if it was within a week, or one
        of more than eight such hours of its day.

        So is a job of each second week, or of a month. What comes back sooner, or lasted longer, is a loop.
        """
        at_least = thresholds.BEFORE_TIMES * one.surprise
        is_alike = [seen.sums[0].surprise >= at_least for day in self._days for seen in day.hours]
        now = len(is_alike) + len(self._today)
        for days_ago in range(1, min(thresholds.BEFORE_DAYS, len(self._days)) + 1):
            hour = now - days_ago * DAY
            if any(is_alike[max(hour - 1, 0) : hour + 2]):
                lasted = sum(is_alike[max(hour - DAY // 2, 0) : hour + DAY // 2])
                return days_ago if days_ago > 7 and lasted <= NIGHT else None
        return None

    def add(self, hour: SeenHour) -> None:
        """Take in the next hour of today."""
        self._today.append(hour)

    def end_day(self) -> None:
        """Fit to the days before the one that ends, and then take it in."""
        today = Day(self._today)
        if len(self._days) >= thresholds.SETTLED_DAYS - 2:
            recent, by_rule = self._days[-thresholds.CALIBRATION_DAYS :], range(len(thresholds.SPIKE_RULES))
            self.usual = [sorted(day.surprises[place] for day in recent)[-thresholds.USUAL_RANK] for place in by_rule]
            self.busiest = sorted(day.busiest for day in recent)[-2]
            if not today.is_unusual or not self.highest:
                active = sum(day.active for day in recent)
                self.works_in_runs = active < thresholds.RUNS_SHARE * DAY * len(recent)
                # As many days as are known of the first day of those that matter, so that each is judged alike.
                month = list(enumerate(self._days))[1 - thresholds.BEFORE_DAYS :]
                by_day = [(day.from_zero if self.works_in_runs else day.highest, number) for number, day in month]
                self.highest = [max((highest[place], number) for highest, number in by_day) for place in by_rule]
        self._days.append(today)
        self._today = []
        self.level = self._next_level()

    def _next_level(self) -> list[float]:
        """The medians of the last five days, once each of them had an unusual hour, until they are usual again."""
        recent = self._days[-thresholds.LEVEL_DAYS :]
        has_begun = len(recent) == thresholds.LEVEL_DAYS and all(day.is_unusual for day in recent)
        if not has_begun and self.level is NO_LEVEL:
            return NO_LEVEL
        level = [median([day.hours[hour].tokens for day in recent]) for hour in range(DAY)]
        return level if sum(level) > median([day.expected for day in recent]) else NO_LEVEL


# New agents are judged by other means.


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
        if counts[hour] >= thresholds.MIN_LOOP and counts[hour] > thresholds.NEW_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found
