"""Find the unusual hours in the token counts of one agent. An hour is compared only with the hours before it.

Read this module from top to bottom. The rules use four terms:

1. The **expected** tokens of an hour are the median of the same hour of the week, and of the hours next to it, in the
   ``SEASON_WEEKS`` weeks before. A job that runs once a week for an hour is therefore never expected.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)), the standard deviations of a Poisson
   count above its expectation. Eight hours have the surprise of their sums. **Three nights**, the same eight hours of
   three days, have the lowest surprise of the three.
3. The **usual** surprises are the highest surprise of each day, on ``USUAL_DAYS`` days. The last ``NEW_LEVEL_DAYS``
   days do not count, so that a fault does not become its own baseline. A change that lasts longer is a new level.
4. The **limit** is a factor times the highest usual surprise, and at least the ``min_surprise`` of the rule. An hour
   above the limit is a warning. An hour above the same factor times the second-highest usual surprise is only listed
   (``info``). Therefore an agent with irregular counts has a high limit, an hour that resembles one earlier day is only
   listed, and an hour that resembles two earlier days is not reported. The factor grows with the number of agents,
   because each of them can exceed its limit by chance.

An unusual hour must also have enough tokens (:func:`matters`), however rare it is. A new agent has no usual surprises,
so its limits are fixed (:func:`unusual_hours_of_new_agent`).

The history below shows the rules, and a test computes each row. The only agent of an organization is issued 20 tokens
per hour, except for 45 in one hour of 1 April and the hours below:

| hour           | rule         | tokens | expected | surprise | highest | limit | result   |
|----------------|--------------|--------|----------|----------|---------|-------|----------|
| 15 April 09:00 | hour         |     50 |       20 |      5.2 |     4.4 |   9.0 |          |
| 15 April 10:00 | hour         |    110 |       20 |     12.0 |     4.4 |   9.0 | warning  |
| 25 April 10:00 | hour         |    110 |       20 |     12.0 |    12.0 |  17.4 | info     |
| 27 April 05:00 | eight hours  |    320 |      160 |     10.5 |     8.2 |  12.2 | info     |
| 29 April 03:00 | three nights |    840 |      480 |      8.2 |     0.0 |   5.0 |          |
| 29 April 05:00 | three nights |    960 |      480 |     10.5 |     0.0 |   5.0 | warning  |
| 3 May 12:00    | hour         |   1200 |       20 |     60.3 |    12.0 |  17.4 | critical |

- 15 April: 50 tokens have a surprise below 9, the minimum for an hour. The surprise of 110 tokens is above 9, and far
  above 1.45 times the highest usual surprise.
- 25 April: an hour with the same tokens is only listed, because 15 April was as surprising.
- 27 April: somebody who has the secret takes 20 more tokens per hour, from 22:00 to 06:00. The first night is only
  listed, because the eight hours around 10:00 on 15 April were nearly as surprising.
- 29 April: the third such night is a warning, because no three nights in a row were unusual before. At 03:00 the three
  nights do not yet have twice the expected tokens.
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
"""Number of days before the first requested day for which surprises are computed. A spike that is ongoing on the
requested day may have begun ``NEW_LEVEL_DAYS + 1`` days earlier, and is compared with the usual days before its
beginning. One more day is needed because the first sums lack some of their hours."""


class Reason(NamedTuple):
    """Why an hour is unusual: the sum of the last ``hours`` hours, on each of ``days`` consecutive days."""

    hours: int
    tokens: int
    expected: int
    days: int = 1
    similar_day: int | None = None  # midnight of an earlier day that was as surprising, if the hour is only listed


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected. ``tokens`` and ``expected`` are for this hour alone."""

    hour: int
    tokens: int
    expected: float
    severity: Severity
    reason: Reason


def unusual_hours(counts: Sequence[int], first: int, since: int, agent_count: int = 1) -> list[UnusualHour]:
    """Return the unusual hours of an agent. The first two weeks of an agent are not judged.

    :param counts: the tokens by the hour.
    :param first: the midnight of the first day with a token.
    :param since: the midnight of the first requested day. Unusual hours of a few days before it are returned too, so
        that the caller can see when a spike that is ongoing at *since* began.
    :param agent_count: the number of agents of the organization that are judged.
    """
    # The first hour for which an expected count can be computed. All lists below begin with this hour.
    start = max(first + DAY, since - DAYS_BEFORE * DAY)
    tokens = counts[start:]
    expected = [expected_tokens(counts, hour, first) for hour in range(start, len(counts) + 1)]
    expected_of_day = rolling_sums(expected, DAY)
    first_judged = max(first + thresholds.SETTLED_DAYS * DAY, since - (thresholds.NEW_LEVEL_DAYS + 1) * DAY, start)

    unusual: dict[int, UnusualHour] = {}
    for rule, sums in zip(thresholds.SPIKE_RULES, sums_by_rule(tokens, expected), strict=True):
        factor = rule.factor * agent_count**thresholds.AGENT_COUNT_EXPONENT
        daily_maxima = [max(total.surprise for total in sums[day : day + DAY]) for day in range(0, len(sums), DAY)]
        for hour in range(first_judged - start, len(tokens)):
            total = sums[hour]
            # When daylight saving begins, work moves to an hour earlier, so the hours nearby are expected too.
            expected_nearby = max(total.expected, *expected[hour - 1 : hour + 2]) if rule.hours == 1 else total.expected
            if not total.may_be_unusual or not matters(total.tokens, expected_nearby, expected_of_day[hour]):
                continue
            usual = usual_days(hour // DAY, rule)
            usual_surprises = daily_maxima[usual]
            severity = severity_of(total.surprise, usual_surprises, factor, rule.min_surprise)
            if severity is Severity.warning and rule.hours == 1:
                busiest_hour = max(tokens[usual.start * DAY : usual.stop * DAY])
                severity = Severity.critical if is_loop(total, expected_of_day[hour], busiest_hour) else severity
            if severity and (hour not in unusual or severity > unusual[hour].severity):
                similar_day = None
                if severity is Severity.info:
                    similar_day = start + (usual.start + usual_surprises.index(max(usual_surprises))) * DAY
                reason = Reason(rule.hours, round(total.tokens), round(total.expected), rule.days, similar_day)
                unusual[hour] = UnusualHour(start + hour, tokens[hour], expected[hour], severity, reason)
    return [unusual[hour] for hour in sorted(unusual)]


# Functions for the expected tokens, term 1 in the module's docstring.


def expected_tokens(counts: Sequence[int], hour: int, first: int) -> float:
    """Return the median of the same hour of the week, and of the hours next to it, in the weeks before *hour*.

    With less than ``MIN_SEASON_WEEKS`` of history, the same hour of the last ``SEASON_DAYS`` days is used instead.

    :param first: the first hour of the history.
    """
    has_weeks = hour - first >= thresholds.MIN_SEASON_WEEKS * WEEK
    step, max_steps = (WEEK, thresholds.SEASON_WEEKS) if has_weeks else (DAY, thresholds.SEASON_DAYS)
    oldest = hour - step * min(max_steps, (hour - first - 1) // step)
    return median([*counts[oldest - 1 : hour - 1 : step], *counts[oldest:hour:step], *counts[oldest + 1 : hour : step]])


# Functions for the surprise, term 2 in the module's docstring.


class Sum(NamedTuple):
    """The tokens of one or more hours, the expected tokens, the surprise, and whether the hours may be unusual."""

    tokens: float
    expected: float
    surprise: float
    may_be_unusual: bool


def surprise(count: float, expected: float) -> float:
    """Return by about how many standard deviations a Poisson-distributed count exceeds its expectation."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def sums_by_rule(tokens: Sequence[int], expected: Sequence[float]) -> tuple[list[Sum], list[Sum], list[Sum]]:
    """Return, per rule of ``SPIKE_RULES``, a list with a sum per hour: of the hours that the rule judges at this hour.

    The rules judge the hour itself, the eight hours that end with it (a night), and three nights. An hour is *raised*
    if its surprise is at least ``RAISED_SURPRISE``; a sum that does not end with a raised hour is not unusual. A night
    also needs ``MIN_RAISED_HOURS`` raised hours, because a single burst is not an unusual night.
    """
    surprises = [surprise(count, usual) for count, usual in zip(tokens, expected, strict=False)]
    is_raised = [value >= thresholds.RAISED_SURPRISE for value in surprises]
    hours = [Sum(*values) for values in zip(tokens, expected, surprises, is_raised, strict=False)]

    raised_hours = rolling_sums(is_raised, thresholds.NIGHT_HOURS)
    is_full = [count >= thresholds.MIN_RAISED_HOURS for count in raised_hours]
    night_tokens, night_expected = (rolling_sums(values, thresholds.NIGHT_HOURS) for values in (tokens, expected))
    nights = [
        Sum(count, usual, surprise(count, usual), full and raised)
        for count, usual, full, raised in zip(night_tokens, night_expected, is_full, is_raised, strict=False)
    ]

    day_expected = rolling_sums(expected, DAY)
    three_nights = [Sum(0.0, 0.0, 0.0, may_be_unusual=False)] * len(nights)
    for end in range(2 * DAY, len(nights)):
        ends = (end - 2 * DAY, end - DAY, end)
        if all(is_full[hour] for hour in ends):
            # Only hours of usually low activity count as a night, because a release makes three busy afternoons.
            is_rest = nights[end].expected <= thresholds.REST_SHARE * day_expected[end]
            three_nights[end] = Sum(
                sum(nights[hour].tokens for hour in ends),
                sum(nights[hour].expected for hour in ends),
                min(nights[hour].surprise for hour in ends),
                is_raised[end] and is_rest,
            )
    return hours, nights, three_nights


def rolling_sums(values: Sequence[float], hours: int) -> list[float]:
    """Return, for each value, the sum of the *hours* values that end with it."""
    totals = [0.0, *accumulate(values)]
    return [total - totals[max(end - hours, 0)] for end, total in enumerate(totals[1:], 1)]


# Functions for the usual surprises and the limit, terms 3 and 4 in the module's docstring.


def usual_days(day: int, rule: SpikeRule) -> slice:
    """Return the days before *day* whose surprises are usual. The last ``NEW_LEVEL_DAYS`` are left out.

    The third of three nights is unusual two days after the first, so for this rule two more days are left out.
    """
    end = day - thresholds.NEW_LEVEL_DAYS + rule.days - 1
    return slice(max(end - thresholds.USUAL_DAYS, 0), end)


def severity_of(value: float, usual: Sequence[float], factor: float, min_surprise: float) -> Severity | None:
    """Return the severity of a surprise, or ``None`` if the surprise is usual.

    :param usual: the highest surprise of each usual day.
    """
    second_highest, highest = sorted(usual)[-2:]
    if value > max(min_surprise, factor * highest):
        return Severity.warning
    if value > max(min_surprise, factor * second_highest):
        return Severity.info
    return None


# The limits below do not depend on the usual surprises.


def matters(tokens: float, expected: float, expected_of_day: float) -> bool:
    """Return whether the tokens beyond the expected tokens are enough to be reported.

    :param expected_of_day: the expected tokens of the 24 hours that end with the hour.
    """
    is_much = tokens - expected >= max(thresholds.MIN_EXCESS, thresholds.MIN_EXCESS_SHARE * expected_of_day)
    return is_much and tokens >= thresholds.MIN_TIMES * expected


def is_loop(hour: Sum, expected_of_day: float, busiest_hour: float) -> bool:
    """Return whether an unusual hour has so many tokens that a retry loop is the likely cause.

    :param busiest_hour: the tokens of the busiest hour of the usual days.
    """
    is_large = hour.tokens - hour.expected >= max(thresholds.MIN_LOOP_EXCESS, expected_of_day)
    return is_large and hour.tokens > thresholds.LOOP_TIMES * busiest_hour


def unusual_hours_of_new_agent(counts: Sequence[int], first: int) -> list[UnusualHour]:
    """Return the hours in an agent's first two weeks with more tokens than a healthy client needs.

    The limit is also a multiple of the agent's busiest hour so far. The last 24 hours do not raise this limit, so a
    loop is reported for a day.
    """
    unusual: list[UnusualHour] = []
    busiest = 0
    for hour in range(first, min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
        if hour - DAY >= first:
            busiest = max(busiest, counts[hour - DAY])
        if counts[hour] >= thresholds.NEW_TOKENS and counts[hour] > thresholds.NEW_TIMES * busiest:
            unusual.append(UnusualHour(hour, counts[hour], busiest, Severity.warning, Reason(1, counts[hour], busiest)))
    return unusual
