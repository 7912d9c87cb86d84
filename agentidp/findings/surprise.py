"""The unusual hours of a list of counts, each judged by what was known before it.

A worked history, with today's thresholds; a test computes each row. An agent is issued 20 tokens in each hour, and was
issued 45 in one of them on 1 April. "Highest" is the highest surprise of a day that is usual by then:

| hour           | of           | tokens | expected | surprise | highest | limit | result   |
|----------------|--------------|--------|----------|----------|---------|-------|----------|
| 15 April 09:00 | hour         |     50 |       20 |      5.2 |     4.4 |   9.0 |          |
| 15 April 10:00 | hour         |     90 |       20 |     10.0 |     4.4 |   9.0 | warning  |
| 25 April 10:00 | hour         |     90 |       20 |     10.0 |    10.0 |  17.5 | info     |
| 27 April 05:00 | eight hours  |    320 |      160 |     10.5 |     6.9 |  13.9 | info     |
| 29 April 03:00 | three nights |    840 |      480 |      8.2 |     0.0 |   5.0 |          |
| 29 April 05:00 | three nights |    960 |      480 |     10.5 |     0.0 |   5.0 | warning  |
| 3 May 12:00    | hour         |   1200 |       20 |     60.3 |    10.0 |  17.5 | critical |

50 tokens are far more than 20, but an hour must be more surprising than 9 in any case. 90 tokens are, and they are more
surprising than 1.75 times the highest day. Ten days later, as many are only listed: they are as surprising as on 15
April, but still more than 1.75 times the second-highest day. Then somebody has the secret and takes 20 tokens in each
hour from 22:00 to 06:00, on three nights. By eight hours, each night is less than twice as surprising as the hours
around 10:00 on 15 April, and listed. By three nights, the third one is a warning, because no three nights in a row had
anything before. It is one at 05:00 and not yet at 03:00, when they do not have twice the expected tokens. 1,200 tokens
in an hour are a loop.

1. **Expected** of an hour is the median of the same hour of the week, and of the hours beside it, in the weeks before
   (``SEASON_WEEKS``). A job of one hour is never expected by that: it is a surprise each time, and therefore usual.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)): standard deviations of a Poisson count.
   That of eight hours is the same of their sums. That of **three nights**, the same eight hours of three days, is that
   of the least surprising one.
3. **Usual** are the daily maxima of the ``USUAL_DAYS`` before the last ``NEW_LEVEL_DAYS``: what begins to go wrong must
   not become its own measure. What lasts longer than these is a new level.
4. It is a warning above a multiple of the highest of these maxima, and listed above the same multiple of the
   second-highest; in either case it must exceed the rule's ``min_surprise`` (``SPIKE_RULES``). So an agent whose counts
   jump about has a high limit, and what has happened on one day before is only listed, and on two days is usual.
5. It must also **matter** (:func:`matters`). Of eight hours at least ``MIN_RAISED_HOURS``, and the last one, must be
   raised, so that one burst makes no night. Three nights are judged only in hours of the day in which the agent
   typically does no more than on average.
6. A new agent has no baseline, and fixed limits (:func:`newcomers_hours`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, median
from agentidp.findings.thresholds import SpikeRule

DAYS_BEFORE = thresholds.USUAL_DAYS + 2 * thresholds.NEW_LEVEL_DAYS + 2
"""Days before those asked for whose surprises are needed: a spike that is running may have begun ``NEW_LEVEL_DAYS`` and
one day before, it is compared with what was usual then, and the sums of the first day are not complete.
"""


class Reason(NamedTuple):
    """The last hours that decided, on how many days, with their tokens and the expected ones; and if these are only
    listed, the midnight of the day that was as surprising.
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


def unusual_hours(counts: Sequence[int], first: int, since: int, *, by_night: bool = True) -> list[UnusualHour]:
    """The unusual hours, from two weeks after the first day on.

    :param first: the midnight of the first day with any count.
    :param since: the midnight from which on hours matter. Those of the days before are returned as well, so that one
        can see when a spike began that is running at *since*.
    :param by_night: whether the sums of eight hours count too.
    """
    # Hour 0 of the lists below is the first one that has something to be compared with.
    begins = max(first + DAY, since - DAYS_BEFORE * DAY)
    judged = max(first + thresholds.SETTLED_DAYS * DAY, since - (thresholds.NEW_LEVEL_DAYS + 1) * DAY) - begins
    tokens = counts[begins:]
    expected = [expected_tokens(counts, begins + hour, first) for hour in range(len(tokens) + 1)]
    of_day = rolling_sums(expected, DAY)
    found: dict[int, UnusualHour] = {}
    for rule, sums in zip(thresholds.SPIKE_RULES, sums_by_rule(tokens, expected, by_night=by_night), strict=False):
        maxima = [max(one.surprise for one in sums[day : day + DAY]) for day in range(0, len(sums), DAY)]
        for hour in range(max(judged, 0), len(tokens)):
            # The last one of several days in a row knows that it is unusual so many days later.
            one, usual_until = sums[hour], hour // DAY - thresholds.NEW_LEVEL_DAYS + rule.days - 1
            # Clocks go forward, and what is expected of the hour after comes an hour earlier.
            near = max(one.expected, *expected[hour - 1 : hour + 2]) if rule.hours == 1 else one.expected
            if not (one.is_judged and one.surprise > rule.min_surprise and matters(one.tokens, near, of_day[hour])):
                continue
            usual_since = max(usual_until - thresholds.USUAL_DAYS, 0)
            severity, before = severity_of(rule, one.surprise, maxima[usual_since:usual_until])
            busiest = max(tokens[usual_since * DAY : usual_until * DAY])
            if severity is Severity.warning and rule.hours == 1 and is_loop(one, of_day[hour], busiest):
                severity = Severity.critical
            known = found.get(hour)
            if severity and not (known and known.severity >= severity):
                day_before = None if before is None else begins + (usual_since + before) * DAY
                reason = Reason(rule.hours, round(one.tokens), round(one.expected), rule.days, day_before)
                found[hour] = UnusualHour(begins + hour, tokens[hour], expected[hour], severity, reason)
    return [found[hour] for hour in sorted(found)]


# What is expected.


def expected_tokens(counts: Sequence[int], hour: int, first: int) -> float:
    """The median of the same hour of the week and of the hours beside it, in the weeks before; of the hour of the day,
    if there are too few weeks.

    :param first: the hour from which on there is something to compare with.
    """
    has_weeks = hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK
    step, most = (WEEK, thresholds.SEASON_WEEKS) if has_weeks else (DAY, thresholds.SEASON_DAYS)
    oldest = hour - step * min(most, (hour - first - 1) // step)
    return median([*counts[oldest - 1 : hour - 1 : step], *counts[oldest:hour:step], *counts[oldest + 1 : hour : step]])


# What is surprising.


class Sum(NamedTuple):
    """The tokens of one or more hours, the expected ones, how surprising that is, and whether it may be unusual."""

    tokens: float
    expected: float
    surprise: float
    is_judged: bool


NO_SUM = Sum(0.0, 0.0, 0.0, is_judged=False)


def surprise(count: float, expected: float) -> float:
    """About how many standard deviations a Poisson count is above its expectation, at any level."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def sums_by_rule(tokens: Sequence[int], expected: Sequence[float], *, by_night: bool = True) -> list[list[Sum]]:
    """What each rule of ``SPIKE_RULES`` judges at each hour: the hours that end with it."""
    surprises = [surprise(*each) for each in zip(tokens, expected, strict=False)]
    is_raised = [one >= thresholds.RAISED_SURPRISE for one in surprises]
    hours = [Sum(*each) for each in zip(tokens, expected, surprises, is_raised, strict=False)]
    if not by_night:
        return [hours]
    raised, issued, usual = (rolling_sums(each, thresholds.NIGHT_HOURS) for each in (is_raised, tokens, expected))
    is_full = [one >= thresholds.MIN_RAISED_HOURS for one in raised]
    nights = [
        Sum(*each, surprise(*each), is_full[hour] and is_raised[hour])
        for hour, each in enumerate(zip(issued, usual, strict=False))
    ]
    three = [NO_SUM] * len(nights)
    for hour, of_day in enumerate(rolling_sums(expected, DAY)[: len(nights)]):
        ends = (hour, hour - DAY, hour - 2 * DAY)
        if ends[-1] >= 0 and all(is_full[end] for end in ends):
            is_rest = usual[hour] <= thresholds.REST_SHARE * of_day
            each = [nights[end] for end in ends]
            three[hour] = Sum(
                sum(night.tokens for night in each),
                sum(night.expected for night in each),
                min(night.surprise for night in each),
                is_raised[hour] and is_rest,
            )
    return [hours, nights, three]


def rolling_sums(values: Sequence[float], hours: int) -> list[float]:
    """The sum of so many values up to each."""
    totals = [0.0, *accumulate(values)]
    return [total - totals[max(end - hours, 0)] for end, total in enumerate(totals[1:], 1)]


# What is unusual.


def severity_of(rule: SpikeRule, one: float, maxima: Sequence[float]) -> tuple[Severity | None, int | None]:
    """How urgent a surprise is beside the daily maxima that are usual; if it is only listed, on which of these days it
    was as surprising.
    """
    second, highest = sorted(maxima)[-2:]
    if one > max(rule.min_surprise, rule.times * highest):
        return Severity.warning, None
    if one > max(rule.min_surprise, rule.times * second):
        return Severity.info, max(range(len(maxima)), key=maxima.__getitem__)
    return None, None


def matters(tokens: float, expected: float, of_day: float) -> bool:
    """Whether the tokens beyond the expected ones are enough to matter, however rare they are.

    :param of_day: what is expected of the last 24 hours.
    """
    is_much = tokens - expected >= max(thresholds.MIN_EXCESS, thresholds.MIN_EXCESS_SHARE * of_day)
    return is_much and tokens >= thresholds.MIN_TIMES * expected


def is_loop(hour: Sum, of_day: float, busiest: float) -> bool:
    """Whether an hour has so many that nothing but a loop is likely.

    :param of_day: what is expected of the last 24 hours.
    :param busiest: the tokens of the busiest hour that is usual.
    """
    excess = hour.tokens - hour.expected
    return excess >= max(thresholds.MIN_LOOP_EXCESS, of_day) and hour.tokens > thresholds.LOOP_TIMES * busiest


# New agents are judged by other means.


def newcomers_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Hours with more tokens than any healthy client needs, above a multiple of the busiest hour up to the day before.

    :param first: the midnight of the first day with any count.
    """
    found: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        # The last day is left out, so that what lasts for hours does not raise its own bound; after a day it does.
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        if counts[hour] >= thresholds.NEW_TOKENS and counts[hour] > thresholds.NEW_TIMES * busiest:
            found.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return found
