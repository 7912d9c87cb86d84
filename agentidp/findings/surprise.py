"""Find the unusual hours in the token counts of one agent. Each hour is judged by the counts before it alone.

Read this module from top to bottom. The rules use four terms:

1. The **expected** tokens of an hour are the median of the same hour of the week, and of the hours beside it, in the
   ``SEASON_WEEKS`` weeks before. A job that runs once a week for an hour is therefore never expected.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)), the standard deviations of a Poisson
   count above its expectation. Eight hours have the surprise of their sums. **Three nights**, the same eight hours of
   three days, have the lowest surprise of the three.
3. The **usual** surprises are the highest ones of each day, on ``USUAL_DAYS`` days. The last ``NEW_LEVEL_DAYS`` days do
   not count, so that a fault does not become its own measure. A change that lasts longer is a new level.
4. The **limit** is a factor times the highest usual surprise, and at least the ``min_surprise`` of the rule. An hour
   above it is a warning. An hour above the same factor times the second-highest one is listed. So an agent whose counts
   jump about has a high limit, an hour like one day before is only listed, and one like two days before is usual. The
   factor grows with the number of agents, because each of them can be above its limit by chance.

An unusual hour must also matter (:func:`matters`), however rare it is. A new agent has no usual surprises, so it has
fixed limits (:func:`newcomers_hours`).

This history shows the rules; a test computes each row. The only agent of an organization is issued 20 tokens per hour,
except for 45 in one hour of 1 April and the hours below:

| hour           | rule         | tokens | expected | surprise | highest | limit | result   |
|----------------|--------------|--------|----------|----------|---------|-------|----------|
| 15 April 09:00 | hour         |     50 |       20 |      5.2 |     4.4 |   9.0 |          |
| 15 April 10:00 | hour         |    110 |       20 |     12.0 |     4.4 |   9.0 | warning  |
| 25 April 10:00 | hour         |    110 |       20 |     12.0 |    12.0 |  17.4 | info     |
| 27 April 05:00 | eight hours  |    320 |      160 |     10.5 |     8.2 |  12.2 | info     |
| 29 April 03:00 | three nights |    840 |      480 |      8.2 |     0.0 |   5.0 |          |
| 29 April 05:00 | three nights |    960 |      480 |     10.5 |     0.0 |   5.0 | warning  |
| 3 May 12:00    | hour         |   1200 |       20 |     60.3 |    12.0 |  17.4 | critical |

- 15 April: 50 tokens are below the least surprise of an hour, 9. 110 tokens are above it, and far above 1.45 times the
  highest usual surprise.
- 25 April: the same hour is only listed, because 15 April was as surprising.
- 27 April: somebody who has the secret takes 20 more tokens per hour, from 22:00 to 06:00. The first night is listed,
  because the eight hours around 10:00 on 15 April were nearly as surprising.
- 29 April: the third such night is a warning, because no three nights in a row were unusual before. At 03:00 they do
  not yet have twice the expected tokens.
- 3 May: 1,200 tokens in an hour are probably a retry loop.
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
"""Days whose surprises are needed before the first day that matters. A spike that runs then may have begun
``NEW_LEVEL_DAYS`` and one day earlier, and is compared with the usual days before that. The first sums lack hours."""


class Reason(NamedTuple):
    """Why an hour is unusual: the sum of the last ``hours`` hours, on ``days`` days, and what was expected of it.

    :param similar_day: the midnight of an earlier day that was as surprising, if the hour is therefore only listed.
    """

    hours: int
    tokens: int
    expected: int
    days: int = 1
    similar_day: int | None = None


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected, its severity, and the reason. A new agent's hour has no reason."""

    hour: int
    count: int
    expected: float
    severity: Severity
    reason: Reason | None = None


def unusual_hours(counts: Sequence[int], first: int, since: int, agent_count: int = 1) -> list[UnusualHour]:
    """Return the unusual hours of an agent, from two weeks after its first day on.

    :param counts: the tokens by the hour.
    :param first: the midnight of the first day with a token.
    :param since: the midnight from which on hours matter. Unusual hours of the days before are returned too, so that
        the caller can see when a spike that runs at *since* began.
    :param agent_count: the number of agents of the organization that are judged.
    """
    # All hours below are counted from this one: the first hour for which there is something to compare with.
    start = max(first + DAY, since - DAYS_BEFORE * DAY)
    tokens = counts[start:]
    expected = [expected_tokens(counts, start + hour, first) for hour in range(len(tokens) + 1)]
    expected_of_day = rolling_sums(expected, DAY)
    first_judged = max(first + thresholds.SETTLED_DAYS * DAY, since - (thresholds.NEW_LEVEL_DAYS + 1) * DAY, start)

    unusual: dict[int, UnusualHour] = {}
    for rule, sums in zip(thresholds.SPIKE_RULES, sums_by_rule(tokens, expected), strict=True):
        factor = rule.factor * agent_count**thresholds.AGENT_COUNT_EXPONENT
        daily_maxima = [max(total.surprise for total in sums[day : day + DAY]) for day in range(0, len(sums), DAY)]
        for hour in range(first_judged - start, len(tokens)):
            total, usual = sums[hour], usual_days(hour // DAY, rule)
            # When clocks go forward, the work of the next hour comes an hour earlier.
            nearby = max(total.expected, *expected[hour - 1 : hour + 2]) if rule.hours == 1 else total.expected
            if not total.may_be_unusual or not matters(total.tokens, nearby, expected_of_day[hour]):
                continue
            severity = severity_of(total.surprise, daily_maxima[usual], factor, rule.min_surprise)
            if severity is Severity.warning and rule.hours == 1:
                busiest_hour = max(tokens[usual.start * DAY : usual.stop * DAY])
                severity = Severity.critical if is_loop(total, expected_of_day[hour], busiest_hour) else severity
            if severity and not (hour in unusual and unusual[hour].severity >= severity):
                similar_day = None
                if severity is Severity.info:
                    most_similar = max(range(usual.start, usual.stop), key=daily_maxima.__getitem__)
                    similar_day = start + most_similar * DAY
                reason = Reason(rule.hours, round(total.tokens), round(total.expected), rule.days, similar_day)
                unusual[hour] = UnusualHour(start + hour, tokens[hour], expected[hour], severity, reason)
    return [unusual[hour] for hour in sorted(unusual)]


# 1. Expected.


def expected_tokens(counts: Sequence[int], hour: int, first: int) -> float:
    """Return the median of the same hour of the week, and of the hours beside it, in the weeks before.

    With less than ``MIN_SEASON_WEEKS`` of history, the same hour of the last ``SEASON_DAYS`` days is used instead.

    :param first: the first hour of the history.
    """
    has_weeks = hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK
    step, max_steps = (WEEK, thresholds.SEASON_WEEKS) if has_weeks else (DAY, thresholds.SEASON_DAYS)
    oldest = hour - step * min(max_steps, (hour - first - 1) // step)
    return median([*counts[oldest - 1 : hour - 1 : step], *counts[oldest:hour:step], *counts[oldest + 1 : hour : step]])


# 2. Surprise.


class Sum(NamedTuple):
    """The tokens of one or more hours, the expected tokens, the surprise, and whether it may be unusual at all."""

    tokens: float
    expected: float
    surprise: float
    may_be_unusual: bool


NO_SUM = Sum(0.0, 0.0, 0.0, may_be_unusual=False)


def surprise(count: float, expected: float) -> float:
    """Return about how many standard deviations a Poisson count is above its expectation, at any level."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def sums_by_rule(tokens: Sequence[int], expected: Sequence[float]) -> tuple[list[Sum], list[Sum], list[Sum]]:
    """Return for each rule of ``SPIKE_RULES`` what it judges at each hour: the hour, the night or the three nights
    that end with it.

    An hour is *raised* if its surprise is at least ``RAISED_SURPRISE``. Only a raised hour may be unusual. Of a night,
    ``MIN_RAISED_HOURS`` must be raised too, because a single burst does not make a night.
    """
    surprises = [surprise(count, usual) for count, usual in zip(tokens, expected, strict=False)]
    is_raised = [value >= thresholds.RAISED_SURPRISE for value in surprises]
    hours = [Sum(*values) for values in zip(tokens, expected, surprises, is_raised, strict=False)]

    is_full = [count >= thresholds.MIN_RAISED_HOURS for count in rolling_sums(is_raised, thresholds.NIGHT_HOURS)]
    tokens_of_night, expected_of_night = (rolling_sums(values, thresholds.NIGHT_HOURS) for values in (tokens, expected))
    nights = [
        Sum(count, usual, surprise(count, usual), full and raised)
        for count, usual, full, raised in zip(tokens_of_night, expected_of_night, is_full, is_raised, strict=False)
    ]

    # A release makes three busy afternoons. So three nights are only judged in hours in which an agent does no more
    # than on average.
    three_nights = [NO_SUM] * len(nights)
    for hour, expected_of_day in enumerate(rolling_sums(expected, DAY)[: len(nights)]):
        ends = [hour - 2 * DAY, hour - DAY, hour]
        if ends[0] >= 0 and all(is_full[end] for end in ends):
            is_rest = expected_of_night[hour] <= thresholds.REST_SHARE * expected_of_day
            three_nights[hour] = Sum(
                sum(nights[end].tokens for end in ends),
                sum(nights[end].expected for end in ends),
                min(nights[end].surprise for end in ends),
                is_raised[hour] and is_rest,
            )
    return hours, nights, three_nights


def rolling_sums(values: Sequence[float], hours: int) -> list[float]:
    """Return for each value the sum of the last *hours* values up to it."""
    totals = [0.0, *accumulate(values)]
    return [total - totals[max(end - hours, 0)] for end, total in enumerate(totals[1:], 1)]


# 3. Usual, and 4. the limit.


def usual_days(day: int, rule: SpikeRule) -> slice:
    """Return the days before *day* that say what is usual: without the last ``NEW_LEVEL_DAYS``.

    The last one of three nights is unusual two days after the first one, so two of these days fewer are left out.
    """
    end = day - thresholds.NEW_LEVEL_DAYS + rule.days - 1
    return slice(max(end - thresholds.USUAL_DAYS, 0), end)


def severity_of(value: float, daily_maxima: Sequence[float], factor: float, min_surprise: float) -> Severity | None:
    """Return how urgent a surprise is compared with the highest ones of the usual days; ``None`` if it is usual."""
    second_highest, highest = sorted(daily_maxima)[-2:]
    if value > max(min_surprise, factor * highest):
        return Severity.warning
    if value > max(min_surprise, factor * second_highest):
        return Severity.info
    return None


# Effects that are too small or very large, whatever is usual.


def matters(tokens: float, expected: float, expected_of_day: float) -> bool:
    """Return whether the tokens beyond the expected ones are enough to matter.

    :param expected_of_day: the tokens that are expected in the last 24 hours.
    """
    is_much = tokens - expected >= max(thresholds.MIN_EXCESS, thresholds.MIN_EXCESS_SHARE * expected_of_day)
    return is_much and tokens >= thresholds.MIN_TIMES * expected


def is_loop(hour: Sum, expected_of_day: float, busiest_hour: float) -> bool:
    """Return whether an hour has so many tokens that only a retry loop is likely.

    :param busiest_hour: the tokens of the busiest hour of the usual days.
    """
    excess = hour.tokens - hour.expected
    return excess >= max(thresholds.MIN_LOOP_EXCESS, expected_of_day) and (
        hour.tokens > thresholds.LOOP_TIMES * busiest_hour
    )


# New agents.


def newcomers_hours(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Return the hours of an agent's first two weeks with more tokens than a healthy client needs.

    The limit is also a multiple of the agent's busiest hour. The last 24 hours do not raise it, so that a loop is
    reported while it lasts, but for at most a day.
    """
    unusual: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        if counts[hour] >= thresholds.NEW_TOKENS and counts[hour] > thresholds.NEW_TIMES * busiest:
            unusual.append(UnusualHour(hour, counts[hour], float(busiest), Severity.warning))
    return unusual
