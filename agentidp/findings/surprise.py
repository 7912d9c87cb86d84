"""The unusual hours of a list of counts, each judged by what was known before it.

1. **Expected** of an hour is the median of the same hour of the week in 8 weeks, averaged with the hours beside it if
   these are alike.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)): standard deviations of a Poisson count.
   That of the last 8 hours, and of the last 24, is the same of their sums.
3. Each is compared with what is **usual**: the third-highest of the daily maxima of 28 days. So an agent whose counts
   jump about has a high limit. ``thresholds.SPIKE_RULES`` says from what multiple of that on it is listed, and from
   what multiple it is a warning. The limits rise with the number of lists, for each may exceed one by chance.
   **Three nights** are 8 hours at the same time of three days, and as surprising as the least of them.
4. It must also **matter**: 30 tokens more than expected, and 2.2, 1.5 or 1.25 times as many, in 1, 8 or 24 hours, or
   3 times in three nights. Some of the hours must have a surprise of 1, in each of three nights 6 of 8.
5. What this hour of the week, or one beside it, had before has a **precedent**, such as a weekly job. An agent that
   works in **runs**, in less than a quarter of all hours, may also do so at another time: a job that runs twice.
6. An hour that was unusual becomes no baseline: what was expected of it takes its place. But what goes on for five days
   is a **new level**, with which later hours are compared.
7. A new agent has no baseline in its first two weeks, and is judged by fixed limits.

Example: 20 tokens are expected of each hour, and on the third-highest of 28 days the highest surprise of an hour was
4.2, and that of 8 hours 4.5. In a list of its own, 60 tokens in an hour have a surprise of 6.5, which is 1.5 times 4.2
and listed; 95 tokens (10.5, 2.5 times) are a warning. If somebody who has the secret takes 20 more in each hour, 8
hours have 320 tokens of 160: a surprise of 10.5, which is 2.3 times 4.5 and a warning, although no hour is unusual.
If an agent works in bursts, and on its third-highest day the highest surprise of three nights was 3.0, then 4 tokens in
each hour of three nights in which none is expected have one of 10.2, 3.4 times 3.0: a warning, although a single
night often has as many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import sqrt
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, median
from agentidp.findings.thresholds import SpikeRule

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


def expected_tokens(counts: list[float], hour: int, first: int) -> float:
    """What is expected of an hour of a list."""
    return mean_of_three(*(seasonal_median(counts, near, first) for near in (hour - 1, hour, hour + 1)))


def surprise(count: float, expected: float) -> float:
    """About how many standard deviations a Poisson count is above its expectation, at any level."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def precedent(counts: Sequence[float], hour: int, first: int, hours: int = 1) -> float:
    """The highest count so far at this hour of the week or one beside it, for a job may run each second week; or the
    highest sum of so many hours up to this hour of the week.
    """
    past = range(hour - WEEK, first - 1, -WEEK)
    if hours == 1:
        return max((max(counts[max(before - 1, 0) : before + 2]) for before in past), default=0.0)
    return max((sum(counts[max(before - hours + 1, 0) : before + 1]) for before in past), default=0.0)


# What is unusual.


class Reason(NamedTuple):
    """The last hours that decided, on how many days, with their tokens and the expected ones."""

    hours: int
    tokens: int
    expected: int
    days: int = 1


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
    :param since: the midnight from which on hours matter. Judging begins 30 days before it, because 28 days of maxima
        must be known by then. The day before is not among them, and of the first day the last 24 hours are not known,
        so it is too low. Unusual hours before *since* are returned as well, so that one can see when a spike began
        that is running at *since*.
    :param number_of_lists: how many lists of counts are judged, this one included.
    :param by_day: whether the sums of the last 8 and 24 hours count too.
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
            found.append(UnusualHour(hour, counts[hour], expected, verdict.severity, verdict.reason))
        if not verdict.is_ordinary and hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK:
            baseline[hour] = min(counts[hour], expected)
        before, same = same, after
    return found


class _Night(NamedTuple):
    """Eight hours: their tokens, the expected ones, and their surprise."""

    tokens: float
    expected: float
    surprise: float


class LastDay:
    """The last 24 hours, and the sums of the hours of each rule that end with the last of them."""

    def __init__(self) -> None:
        self._hours = deque([(0.0, 0.0)] * DAY, maxlen=DAY)
        self._surprises = deque([0.0] * DAY, maxlen=DAY)
        self.sums = tuple((0.0, 0.0) for _ in thresholds.SPIKE_RULES)
        """Of each rule, the tokens and the expected ones."""

    def add(self, tokens: float, expected: float) -> None:
        """The next hour takes the place of the one a day before."""
        # In a fraction of which sums are exact, so that they do not depend on the hour with which they began.
        expected = round(64 * expected) / 64
        self.sums = tuple(
            (all_tokens + tokens - self._hours[-rule.hours][0], all_expected + expected - self._hours[-rule.hours][1])
            for rule, (all_tokens, all_expected) in zip(thresholds.SPIKE_RULES, self.sums, strict=True)
        )
        self._hours.append((tokens, expected))
        self._surprises.append(surprise(tokens, expected))

    def forget(self) -> None:
        """Count the last hour as expected: what was a warning by itself makes no sum of later hours unusual."""
        tokens, expected = self._hours[-1]
        self.sums = tuple((all_tokens + expected - tokens, all_expected) for all_tokens, all_expected in self.sums)
        self._hours[-1] = (expected, expected)

    def night(self, of_sum: float) -> _Night:
        """The last 8 hours; their surprise is 0 if not most of them are raised.

        :param of_sum: the surprise of their sum.
        """
        hours = thresholds.SPIKE_RULES[-1].hours
        is_raised = of_sum > 0 and self.surprising(hours) >= thresholds.MIN_NIGHT_HOURS
        return _Night(*self.sums[-1], of_sum if is_raised else 0.0)

    def surprising(self, hours: int) -> int:
        """How many of so many last hours have at least one standard deviation more than expected."""
        return sum(1 for place in range(1, hours + 1) if self._surprises[-place] >= 1)


class _Verdict(NamedTuple):
    """How urgent an hour is, ``None`` if it is not, and whether it is ordinary, so that it belongs to the baseline.

    Before any maxima are known, a gross outlier is not ordinary, although it is not reported.
    """

    severity: Severity | None
    is_ordinary: bool
    reason: Reason | None = None


class _Judge:
    """Judges one hour after the other, by the hours before it.

    :param baseline: the counts without what was unusual; :func:`unusual_hours` changes it between two hours.
    """

    def __init__(self, baseline: Sequence[float], first: int, number_of_lists: int, by_day: bool) -> None:
        self.baseline, self.first, self.number_of_lists, self.by_day = baseline, first, number_of_lists, by_day
        self.maxima, self.last_day = DailyMaxima(), LastDay()

    def judge_next(self, hour: int, count: int, expected: float) -> _Verdict:
        """Add the hour after the last one to ``last_day``, judge it, and add it to ``maxima`` if it is ordinary."""
        maxima, last_day = self.maxima, self.last_day
        last_day.add(count, expected * maxima.level)
        sums = list(last_day.sums)
        surprises = [surprise(*of_rule) for of_rule in sums]
        sums[-1], surprises[-1] = maxima.with_nights_before(last_day.night(surprises[-1]))
        rules = thresholds.SPIKE_RULES if self.by_day else thresholds.SPIKE_RULES[:1]
        severity, reason = None, None
        if maxima.usual and surprises[0] >= 1:
            for place, rule in enumerate(rules):
                times = surprises[place] / max(maxima.usual[place], rule.min_usual)
                found = severity_of(times, rule, self.number_of_lists)
                if found and (severity is None or found > severity) and self._is_unusual(hour, place, *sums[place]):
                    tokens, of_expected = map(round, sums[place])
                    severity, reason = found, Reason(rule.hours, tokens, of_expected, rule.days)
        if severity is None:
            # A gross outlier of the first weeks is no baseline, but it says how much the counts jump about.
            is_ordinary = bool(maxima.usual) or not is_gross(count, expected)
            maxima.add(surprises, [tokens for tokens, _ in sums] if is_ordinary else (), count, expected)
            return _Verdict(None, is_ordinary)
        maxima.add_unusual(count, expected)
        if reason and reason.hours == 1 and severity is Severity.warning:
            last_day.forget()
            if count > thresholds.CRITICAL_TIMES * max(maxima.busiest, thresholds.MIN_EXCESS):
                severity = Severity.critical
        return _Verdict(severity, is_ordinary=False, reason=reason)

    def _is_unusual(self, hour: int, place: int, tokens: float, expected: float) -> bool:
        """Whether the tokens of a rule's hours matter, have no precedent, and are not of one of its hours alone."""
        rule = thresholds.SPIKE_RULES[place]
        is_known = hour // DAY * DAY - self.first >= rule.min_days * DAY
        if not is_known or not matters(tokens, expected, rule.min_times):
            return False
        if tokens <= rule.precedent_times * precedent(self.baseline, hour, self.first, rule.hours):
            return False
        if self.maxima.works_in_runs and tokens <= rule.run_times * self.maxima.highest[place]:
            return False
        return 4 * self.last_day.surprising(rule.hours) >= rule.hours


def matters(tokens: float, expected: float, times: float) -> bool:
    """Whether the tokens beyond the expected ones are enough to matter, however rare they are."""
    return tokens >= expected + thresholds.MIN_EXCESS and tokens >= times * expected


def severity_of(times: float, rule: SpikeRule, number_of_lists: int) -> Severity | None:
    """How urgent it is that a surprise is so many times what is usual, in one of so many lists."""
    times /= number_of_lists**rule.lists_exponent
    if times >= rule.warning_times:
        return Severity.warning
    return Severity.info if times >= rule.info_times else None


@dataclass(slots=True)
class _Day:
    """Of a day: by rule, the highest surprise and the most tokens of its ordinary hours; the night that ends with each
    hour; how many hours are active; its tokens and the expected ones; and whether an hour was unusual.
    """

    surprises: list[float]
    highest: list[float]
    nights: list[_Night]
    active: int = 0
    tokens: float = 0.0
    expected: float = 0.0
    is_unusual: bool = False

    @classmethod
    def empty(cls) -> _Day:
        """None of its hours is known yet."""
        return cls([0.0] * len(thresholds.SPIKE_RULES), [0.0] * len(thresholds.SPIKE_RULES), [])

    def __copy__(self) -> _Day:
        return replace(self, surprises=[*self.surprises], highest=[*self.highest], nights=[*self.nights])


class DailyMaxima:
    """What each day had, and what is usual by that; fitted each midnight.

    What begins to go wrong must not become its own measure, so the day before is left out of each fit, and so are the
    hours that were unusual.
    """

    def __init__(self) -> None:
        self.usual: list[float] = []
        """By rule, the third-highest surprise of a day; empty while too few days are known."""

        self.highest: list[float] = []
        """By rule, the most tokens."""

        self.busiest = 0.0
        """The second-highest daily maximum of an hour's tokens."""

        self.works_in_runs = False
        """Whether the agent works in few of its hours."""

        self.level = 1.0
        """How many times what is expected is issued since a new level began."""

        self._days: list[_Day] = []
        self._today = _Day.empty()

    def with_nights_before(self, night: _Night) -> tuple[tuple[float, float], float]:
        """Take in the night that ends with an hour: its tokens and the expected ones, with those of the same hours of
        the two days before, and the least surprise of the three.
        """
        place = len(self._today.nights)
        self._today.nights.append(night)
        if not night.surprise:
            return night[:2], 0.0
        nights = [night, *(day.nights[place] for day in self._days[1 - thresholds.SPIKE_RULES[-1].days :])]
        is_known = len(nights) == thresholds.SPIKE_RULES[-1].days
        least = min(each.surprise for each in nights) if is_known else 0.0
        return (sum(each.tokens for each in nights), sum(each.expected for each in nights)), least

    def add(self, surprises: Sequence[float], sums: Sequence[float], tokens: float, expected: float) -> None:
        """Take in an hour: by rule, the surprise, and the tokens that end with it if they are ordinary; and its own."""
        today = self._today
        for highest, values in ((today.surprises, surprises), (today.highest, sums)):
            for place, value in enumerate(values):
                if value > highest[place]:
                    highest[place] = value
        today.active += tokens > 0
        today.tokens += tokens
        today.expected += expected

    def add_unusual(self, tokens: float, expected: float) -> None:
        """Take in an unusual hour, which is no measure of others."""
        self._today.tokens += tokens
        self._today.expected += expected
        self._today.is_unusual = True

    def end_day(self) -> None:
        """Fit to the days before the one that ends, and then take it in."""
        if len(self._days) >= thresholds.SETTLED_DAYS - 1:
            recent = self._days[-thresholds.CALIBRATION_DAYS :]
            by_rule = range(len(thresholds.SPIKE_RULES))
            self.usual = [sorted(day.surprises[place] for day in recent)[-thresholds.USUAL_RANK] for place in by_rule]
            self.highest = [max(day.highest[place] for day in recent) for place in by_rule]
            self.busiest = sorted(day.highest[0] for day in recent)[-2]
            self.works_in_runs = sum(day.active for day in recent) < thresholds.RUNS_SHARE * DAY * len(recent)
        self._days.append(self._today)
        self._today = _Day.empty()
        self.level = self._next_level()

    def _next_level(self) -> float:
        """A new level begins after so many days in a row with an unusual hour, and ends when it is usual again."""
        recent = self._days[-thresholds.LEVEL_DAYS :]
        times = median([day.tokens / day.expected for day in recent if day.expected])
        if self.level > 1:
            return max(1.0, min(self.level, times))
        has_begun = len(recent) == thresholds.LEVEL_DAYS and all(day.is_unusual for day in recent)
        return max(1.0, times) if has_begun else 1.0


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


# What is judged by other means: new agents, and the ends of months.


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
        or one.count > thresholds.MONTH_END_TIMES * month_end_precedent(counts, one.hour, first_day)
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
