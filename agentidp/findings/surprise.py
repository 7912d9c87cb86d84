"""Find the unusual hours in the token counts of one agent. An hour is compared only with the hours before it.

Read this module from top to bottom. docs/analytics.md describes the same rules for users, and
docs/decisions/findings.md gives the reasons and measurements. The rules use five terms:

1. The **expected** tokens of an hour are the median of the same hour of the week, and of the hours next to it, in the
   ``SEASON_WEEKS`` weeks before. A job that runs once a week for an hour is therefore never expected.
2. The **surprise** of an hour is 2 (sqrt(count + 3/8) - sqrt(expected + 3/8)), the standard deviations of a Poisson
   count above its expectation. A **window** is eight consecutive hours; its surprise is computed from the sums of its
   hours. A **night** is a window at a time of day with few expected tokens. **Three nights** are the nights of the same
   hours on three consecutive days; their surprise is the lowest of the three.
3. The **usual** surprises are the highest surprise of each day, on ``USUAL_DAYS`` days. The last ``NEW_LEVEL_DAYS``
   days do not count, so that a fault does not become its own baseline. A change that lasts longer is a new level.
4. There are two **limits**, each at least the ``min_surprise`` of the rule. An hour is a warning if its surprise is
   above a factor times the highest usual surprise. The hour is only listed (``info``) if its surprise is above the same
   factor times the second-highest usual surprise. Therefore an agent with irregular counts has high limits, an hour
   that resembles one earlier day is only listed, and an hour that resembles two earlier days is not reported. The
   factor grows with the number of agents, because each agent can exceed its limits by chance.
5. A warning about one hour is **critical** if its tokens are probably a retry loop (:func:`is_loop`). If several of the
   ``SPIKE_RULES`` find an hour unusual, the highest severity counts, and among equal severities the first rule.

An unusual hour must also exceed the expected tokens by enough, and have at least twice as many
(:func:`is_large_enough`). A single hour is compared with the highest expectation of the hour and of the hours before
and after it. A new agent has no usual surprises, so its limits are fixed (:func:`find_unusual_hours_of_new_agent`).

The history below shows the rules, and a test computes each row. The only agent of an organization is issued 20 tokens
per hour, except for 45 in one hour of 1 April and the hours below:

|                |              |        |          |          | usual surprises   | limits         |          |
| hour           | rule         | tokens | expected | surprise | second- | highest | info | warning | result   |
|----------------|--------------|--------|----------|----------|---------|---------|------|---------|----------|
| 15 April 09:00 | hour         |     50 |       20 |      5.2 |     0.0 |     4.4 |  9.0 |     9.0 |          |
| 15 April 10:00 | hour         |    110 |       20 |     12.0 |     0.0 |     4.4 |  9.0 |     9.0 | warning  |
| 25 April 10:00 | hour         |    110 |       20 |     12.0 |     4.4 |    12.0 |  9.0 |    17.4 | info     |
| 27 April 05:00 | night        |    320 |      160 |     10.5 |     1.9 |     8.2 |  8.0 |    12.2 | info     |
| 29 April 03:00 | three nights |    840 |      480 |      8.2 |     0.0 |     0.0 |  5.0 |     5.0 |          |
| 29 April 05:00 | three nights |    960 |      480 |     10.5 |     0.0 |     0.0 |  5.0 |     5.0 | warning  |
| 3 May 12:00    | hour         |   1200 |       20 |     60.3 |    12.0 |    12.0 | 17.4 |    17.4 | critical |

- 15 April: 50 tokens have a surprise below 9, the minimum for an hour. The surprise of 110 tokens is above 9, and far
  above 1.45 times the highest usual surprise.
- 25 April: an hour with the same tokens is only listed, because 15 April was as surprising.
- 27 April: somebody who has the secret takes 20 more tokens per hour, from 22:00 to 06:00. The first night is only
  listed, because the window around 10:00 on 15 April was nearly as surprising.
- 29 April: the third such night is a warning, because no three nights in a row were unusual before. At 03:00 the three
  nights do not yet have twice the expected tokens.
- 3 May: 1,200 tokens in an hour are probably a retry loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from operator import le
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.finding import Severity
from agentidp.findings.history import DAY, WEEK, median
from agentidp.findings.thresholds import SpikeRule

# A lasting change is unusual on its first day, and on the NEW_LEVEL_DAYS days after it. Later it is a new level.
JUDGED_DAYS_BEFORE = thresholds.NEW_LEVEL_DAYS + 1
"""Number of days before the first requested day whose hours are judged too, because a spike may have begun there."""

# The first judged day is compared with USUAL_DAYS usual days, which end NEW_LEVEL_DAYS days earlier. One more day is
# added, because the windows of the first usual day begin on the day before it.
DAYS_BEFORE = JUDGED_DAYS_BEFORE + thresholds.NEW_LEVEL_DAYS + thresholds.USUAL_DAYS + 1
"""Number of days before the first requested day whose surprises are computed."""


class Reason(NamedTuple):
    """The number of tokens that makes an hour unusual, and the number that was expected."""

    hours: int  # the number of hours, ending with the unusual hour, whose tokens are added up
    tokens: int
    expected: int
    days: int = 1  # the number of consecutive days whose hours are added up
    similar_day: int | None = None  # midnight of the usual day with the highest surprise, if the hour is only listed


@dataclass(frozen=True)
class UnusualHour:
    """An hour with more tokens than expected. ``tokens`` and ``expected`` are for this hour alone.

    ``hour`` is the index of the hour in the agent's history, but ``reason.hours`` is a number of hours.
    """

    hour: int
    tokens: int
    expected: float
    severity: Severity
    reason: Reason


def find_unusual_hours(
    tokens_by_hour: Sequence[int], first_midnight: int, first_requested_hour: int, agent_count: int = 1
) -> list[UnusualHour]:
    """Return the unusual hours of an agent. The first two weeks of an agent are not judged.

    :param first_midnight: the midnight of the first day with a token.
    :param first_requested_hour: the midnight of the first requested day. Unusual hours of the ``JUDGED_DAYS_BEFORE``
        days before it are returned too.
    :param agent_count: the number of agents of the organization that are judged.
    """
    # The expected tokens of an agent's first day are unknown, because there is no earlier day. In *tokens* and
    # *expected_tokens*, the hours before start_hour are zero.
    start_hour = max(first_midnight + DAY, first_requested_hour - DAYS_BEFORE * DAY)
    tokens = [*[0] * start_hour, *tokens_by_hour[start_hour:]]
    # *expected_tokens* has one hour more than *tokens*, because _History.judge() also reads the next hour.
    expected_tokens = [
        *[0.0] * start_hour,
        *(
            estimate_expected_tokens(tokens_by_hour, hour, first_midnight)
            for hour in range(start_hour, len(tokens) + 1)
        ),
    ]
    history = _History(tokens, expected_tokens, compute_rolling_sums(expected_tokens, DAY))
    first_judged_hour = max(
        first_midnight + thresholds.SETTLED_DAYS * DAY, first_requested_hour - JUDGED_DAYS_BEFORE * DAY
    )
    unusual_hours_by_index: dict[int, UnusualHour] = {}
    for rule, sums_by_hour in zip(thresholds.SPIKE_RULES, sum_tokens_by_rule(tokens, expected_tokens), strict=True):
        limit_factor = rule.factor * agent_count**thresholds.AGENT_COUNT_EXPONENT
        daily_maxima = [
            max(hour_sum.surprise for hour_sum in sums_by_hour[midnight : midnight + DAY])
            for midnight in range(0, len(tokens), DAY)
        ]
        for hour in range(first_judged_hour, len(tokens)):
            unusual_hour = history.judge(hour, sums_by_hour[hour], rule, daily_maxima, limit_factor)
            severest_so_far = unusual_hours_by_index.get(hour)
            if unusual_hour and (severest_so_far is None or unusual_hour.severity > severest_so_far.severity):
                unusual_hours_by_index[hour] = unusual_hour
    return [unusual_hours_by_index[hour] for hour in sorted(unusual_hours_by_index)]


class _History(NamedTuple):
    """The tokens and the expected tokens of an agent by hour."""

    tokens: Sequence[int]
    expected: Sequence[float]
    expected_of_day: Sequence[float]  # the expected tokens of the 24 hours that end with the hour

    def judge(
        self, hour: int, hour_sum: Sum, rule: SpikeRule, daily_maxima: Sequence[float], limit_factor: float
    ) -> UnusualHour | None:
        """Return an :class:`UnusualHour` if *hour* has unusually many tokens by *rule*, otherwise ``None``.

        :param hour_sum: the rule's sum that ends with *hour*.
        :param daily_maxima: the highest surprise of the rule's sums on each day of the history.
        """
        expected_tokens_nearby = hour_sum.expected
        if rule.hours == 1:
            # Daylight saving can move the tokens of a neighbouring hour to this hour. Longer sums hardly change.
            expected_tokens_nearby = max(self.expected[hour - 1 : hour + 2])
        if not hour_sum.may_be_unusual or not is_large_enough(
            hour_sum.tokens, expected_tokens_nearby, self.expected_of_day[hour]
        ):
            return None
        usual_days = select_usual_days(hour // DAY, rule)
        usual_surprises = daily_maxima[usual_days]
        severity = decide_severity(hour_sum.surprise, usual_surprises, limit_factor, rule.min_surprise)
        if severity is None:
            return None
        if severity is Severity.warning and rule.hours == 1:
            busiest_hour_tokens = max(self.tokens[usual_days.start * DAY : usual_days.stop * DAY])
            if is_loop(hour_sum, self.expected_of_day[hour], busiest_hour_tokens):
                severity = Severity.critical
        similar_day = None
        if severity is Severity.info:
            similar_day = (usual_days.start + usual_surprises.index(max(usual_surprises))) * DAY
        reason = Reason(rule.hours, round(hour_sum.tokens), round(hour_sum.expected), rule.days, similar_day)
        return UnusualHour(hour, self.tokens[hour], self.expected[hour], severity, reason)


def estimate_expected_tokens(tokens_by_hour: Sequence[int], hour: int, first_midnight: int) -> float:
    """Return the median tokens of the same hour of the week, and of the hours next to it, in the weeks before *hour*.

    With less than ``MIN_SEASON_WEEKS`` of history, the same hour of the last ``SEASON_DAYS`` days is used instead.
    """
    has_weekly_history = hour - first_midnight >= thresholds.MIN_SEASON_WEEKS * WEEK
    step_hours, max_steps = (WEEK, thresholds.SEASON_WEEKS) if has_weekly_history else (DAY, thresholds.SEASON_DAYS)
    # The median includes the hour before the oldest hour, so the history must contain that hour.
    max_steps = min(max_steps, (hour - first_midnight - 1) // step_hours)
    oldest_hour = hour - step_hours * max_steps
    return median(
        [
            *tokens_by_hour[oldest_hour - 1 : hour - 1 : step_hours],
            *tokens_by_hour[oldest_hour:hour:step_hours],
            *tokens_by_hour[oldest_hour + 1 : hour : step_hours],
        ]
    )


class Sum(NamedTuple):
    """The tokens of one or more hours, the expected tokens, the surprise, and whether the hours may be unusual."""

    tokens: float
    expected: float
    surprise: float
    may_be_unusual: bool


def surprise(count: float, expected: float) -> float:
    """Return by about how many standard deviations a Poisson-distributed count exceeds its expectation."""
    return 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375))


def sum_tokens_by_rule(
    tokens: Sequence[int], expected_tokens: Sequence[float]
) -> tuple[list[Sum], list[Sum], list[Sum]]:
    """Return one list of sums per rule of ``SPIKE_RULES``: sums of one hour, of one window and of three windows.

    Each list has one sum per hour: the sum that ends with this hour. A window has ``WINDOW_HOURS`` hours.

    An hour is *raised* if its surprise is at least ``RAISED_SURPRISE``. A sum can be unusual only if its last hour is
    raised. A window must also be a night, because a release makes whole afternoons busy, and *full*: at least
    ``MIN_RAISED_HOURS`` of its hours are raised, because a single burst is no unusual night.
    """
    surprises = [*map(surprise, tokens, expected_tokens)]
    are_hours_raised = [hour_surprise >= thresholds.RAISED_SURPRISE for hour_surprise in surprises]
    window_tokens, window_expected, raised_hour_counts = (
        compute_rolling_sums(series, thresholds.WINDOW_HOURS) for series in (tokens, expected_tokens, are_hours_raised)
    )
    are_windows_full = [raised_hour_count >= thresholds.MIN_RAISED_HOURS for raised_hour_count in raised_hour_counts]
    max_night_tokens = [thresholds.REST_SHARE * day_total for day_total in compute_rolling_sums(expected_tokens, DAY)]
    are_windows_nights = map(le, window_expected, max_night_tokens)
    may_windows_be_unusual = map(all, zip(are_windows_full, are_hours_raised, are_windows_nights, strict=True))
    window_sums = [
        *map(Sum, window_tokens, window_expected, map(surprise, window_tokens, window_expected), may_windows_be_unusual)
    ]
    return (
        [*map(Sum, tokens, expected_tokens, surprises, are_hours_raised)],
        window_sums,
        sum_three_nights(window_sums, are_windows_full),
    )


def sum_three_nights(window_sums: Sequence[Sum], are_windows_full: Sequence[bool]) -> list[Sum]:
    """Return, for each hour, the sum of the windows that end with the hour, and 24 and 48 hours before it."""
    three_night_sums = [Sum(0.0, 0.0, 0.0, may_be_unusual=False)] * len(window_sums)
    for end_hour in range(2 * DAY, len(window_sums)):
        if are_windows_full[end_hour] and are_windows_full[end_hour - DAY] and are_windows_full[end_hour - 2 * DAY]:
            nights = window_sums[end_hour - 2 * DAY : end_hour + 1 : DAY]
            three_night_sums[end_hour] = Sum(
                sum(night.tokens for night in nights),
                sum(night.expected for night in nights),
                min(night.surprise for night in nights),
                nights[-1].may_be_unusual,
            )
    return three_night_sums


def compute_rolling_sums(hourly_values: Sequence[float], window_hours: int) -> list[float]:
    """Return, for each value, the sum of the *window_hours* values that end with it."""
    running_totals = [0.0, *accumulate(hourly_values)]
    return [
        running_total - running_totals[max(end_index - window_hours, 0)]
        for end_index, running_total in enumerate(running_totals[1:], 1)
    ]


def select_usual_days(day: int, rule: SpikeRule) -> slice:
    """Return the slice of earlier days with which *day* is compared."""
    # The rule for three nights notices a change two days late. Its usual days end two days later than those of other
    # rules, so that a lasting change becomes usual for all rules on the same day.
    end_day = day - thresholds.NEW_LEVEL_DAYS + rule.days - 1
    return slice(max(end_day - thresholds.USUAL_DAYS, 0), end_day)


def decide_severity(
    surprise_value: float, usual_surprises: Sequence[float], factor: float, min_surprise: float
) -> Severity | None:
    """Return the severity of a surprise compared with the usual surprises, or ``None`` if it is not unusual."""
    second_highest_usual_surprise, highest_usual_surprise = sorted(usual_surprises)[-2:]
    if surprise_value > max(min_surprise, factor * highest_usual_surprise):
        return Severity.warning
    if surprise_value > max(min_surprise, factor * second_highest_usual_surprise):
        return Severity.info
    return None


def is_large_enough(tokens: float, expected: float, expected_of_day: float) -> bool:
    """Return whether the tokens beyond the expected tokens are enough to be reported.

    :param expected_of_day: the expected tokens of the 24 hours that end with the hour.
    """
    min_excess = max(thresholds.MIN_EXCESS, thresholds.MIN_EXCESS_SHARE * expected_of_day)
    return tokens - expected >= min_excess and tokens >= thresholds.MIN_TIMES * expected


def is_loop(hour_sum: Sum, expected_of_day: float, busiest_hour_tokens: float) -> bool:
    """Return whether an unusual hour has so many tokens that a retry loop is the likely cause.

    :param busiest_hour_tokens: the tokens of the busiest hour of the usual days.
    """
    min_excess = max(thresholds.MIN_LOOP_EXCESS, expected_of_day)
    is_excess_large = hour_sum.tokens - hour_sum.expected >= min_excess
    return is_excess_large and hour_sum.tokens > thresholds.LOOP_TIMES * busiest_hour_tokens


def find_unusual_hours_of_new_agent(tokens_by_hour: Sequence[int], first_midnight: int) -> list[UnusualHour]:
    """Return the hours of an agent's first two weeks that have more tokens than a healthy client needs.

    Each of these hours also has more than ``NEW_TIMES`` times the tokens of any hour at least 24 hours before it.
    """
    unusual_hours: list[UnusualHour] = []
    busiest_hour_tokens = 0
    for hour in range(first_midnight, min(len(tokens_by_hour), first_midnight + thresholds.SETTLED_DAYS * DAY)):
        if hour - DAY >= first_midnight:
            busiest_hour_tokens = max(busiest_hour_tokens, tokens_by_hour[hour - DAY])
        tokens = tokens_by_hour[hour]
        if tokens >= thresholds.NEW_TOKENS and tokens > thresholds.NEW_TIMES * busiest_hour_tokens:
            reason = Reason(1, tokens, busiest_hour_tokens)
            unusual_hours.append(UnusualHour(hour, tokens, busiest_hour_tokens, Severity.warning, reason))
    return unusual_hours
