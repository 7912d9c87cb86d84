"""An agent's habit: in how many of the last 8 weeks it was active in an hour of the week, and what a quiet one says.

Statistic: the evidence of a quiet hour, -ln(1 - p). p is the share of the weeks in which the agent was active in the
same hour of the week, smoothed to (k + 1/2) / (n + 1) for k of n weeks. An hour in which it was never active says
nothing. The evidence of a quiet day is the same of days. The evidence of several is their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, first_active_day


def evidence(active: float, weeks: int) -> float:
    """Of one quiet hour or day, in which there was activity in so many of the weeks."""
    return log((weeks + 1) / (weeks - active + 0.5)) if active else 0.0


def known_weeks(counts: Sequence[int], last_day: int) -> int:
    """Whole weeks of history before a day, at most 8."""
    first = first_active_day(counts)
    weeks = 0 if first is None else (last_day - first // DAY) // 7
    return min(weeks, thresholds.SILENCE_WEEKS)


def weeks_active(counts: Sequence[int], hour: int, last_day: int, weeks: int) -> int:
    """In how many of the weeks before its last day an agent was active in the same hour of the week as *hour*.

    :param hour: an index of *counts*, or one after their end; not an hour of the week.
    """
    first = (last_day - 7 * weeks) * DAY
    places = range(first + (hour - first) % WEEK, last_day * DAY, WEEK)
    return sum(1 for place in places if counts[place])


def is_amid_work(counts: Sequence[int], hour: int, last_day: int, weeks: int) -> bool:
    """Whether an agent is nearly always active in an hour and in the two after it."""
    hours = range(hour, hour + thresholds.MIN_STOPPED_HOURS)
    return all(weeks_active(counts, each, last_day, weeks) >= thresholds.STEADY_SHARE * weeks for each in hours)
