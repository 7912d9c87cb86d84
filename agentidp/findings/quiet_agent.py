"""Decide whether an agent is silent, from the list of its requests by the hour.

Statistic: the evidence of a quiet hour or day, -ln(1 - p). p is the share of the last 8 weeks in which the agent was
active in the same hour of the week (or on the same weekday), smoothed to (k + 1/2) / (n + 1) for k of n weeks. An hour
in which the agent was never active has no evidence. The evidence of several hours or days is added up.

An hour is *steady* if the agent was active in it in three of four weeks. Four consecutive hours that are not steady are
a *rest*.

1. **By hours**, if the agent stopped in the middle of its work: it made at least half of its typical requests in the
   steady hours among its last eight hours, since its last rest. (On a holiday an agent makes fewer requests.) The
   evidence is that of the missed steady hours up to its next rest. They must be more than twice as many as in its
   second-longest pause of the 8 weeks, because an agent that depends on a few people pauses when they do. An agent that
   stopped shortly before its first steady hour is judged in this way too.
2. **By days** otherwise: by the whole UTC days that the agent has missed, because a holiday silences all hours of a day
   at once. An agent that rests on some days may have a holiday, so more days are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from math import log
from statistics import median_low
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, daily, first_active_day


class Silence(NamedTuple):
    """An agent's silence: its first hour, and the expected number of active hours or days (``unit``) since then."""

    since: int
    expected: float
    unit: str


def silence_of_agent(
    counts: Sequence[int], unknown_hours: Collection[int], unknown_days: Collection[int]
) -> Silence | None:
    """Return the current silence of an agent, or ``None`` if the agent is not silent.

    :param counts: the agent's requests by hour. The last hour is not over.
    :param unknown_hours: hours that cannot show by themselves that the agent is silent.
    :param unknown_days: days that cannot show it by themselves.
    """
    current = len(counts) - 1
    last = next((hour for hour in range(current, -1, -1) if counts[hour]), None)
    if last is None or current // DAY - last // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    weeks = weeks_of_history(counts, last // DAY)
    if weeks < thresholds.MIN_SILENCE_WEEKS:
        return None
    return silence_by_hours(counts, last, weeks, unknown_hours) or silence_by_days(counts, last, weeks, unknown_days)


def silence_by_hours(counts: Sequence[int], last: int, weeks: int, unknown: Collection[int]) -> Silence | None:
    """Return the silence of an agent that stopped in the middle of its work.

    :param last: the last hour with a request of the agent.
    """
    begins = (last // DAY - 7 * weeks) * DAY
    # For each hour of a week from *begins* on, the number of weeks in which the agent was active in this hour.
    active_weeks = [weeks_active(counts, begins + hour, last // DAY, weeks) for hour in range(WEEK)]

    def steady_hours(hours: Iterable[int]) -> list[int]:
        """Return the hours in which the agent usually works, up to its next usual rest."""
        steady, idle = [], 0
        for hour in hours:
            idle = 0 if active_weeks[(hour - begins) % WEEK] >= thresholds.STEADY_SHARE * weeks else idle + 1
            if idle >= thresholds.REST_HOURS:
                break
            if not idle and hour not in unknown:
                steady.append(hour)
        return steady

    missed = steady_hours(range(last + 1, len(counts) - 1))
    missed_weeks = [active_weeks[(hour - begins) % WEEK] for hour in missed]
    if sum(evidence(active, weeks) for active in missed_weeks) < thresholds.MIN_EVIDENCE_HOURS:
        return None
    if not was_working(counts, steady_hours(range(last, last - thresholds.WORK_HOURS, -1)), begins, weeks):
        return None
    active_hours = (hour for hour in range(begins, last + 1) if counts[hour])
    pauses = [len(steady_hours(range(earlier + 1, later))) for earlier, later in pairwise(active_hours)]
    # The second-longest pause is compared, because the longest pause may have been an incident.
    if len(missed) <= thresholds.PAUSE_TIMES * sorted([0, 0, *pauses])[-2]:
        return None
    return Silence(last + 1, sum(missed_weeks) / weeks, "hours")


def silence_by_days(counts: Sequence[int], last: int, weeks: int, unknown: Collection[int]) -> Silence | None:
    """Return the silence of any agent, by the whole days in which it made no request.

    :param last: the last hour with a request of the agent.
    """
    days, last_day, today = daily(counts), last // DAY, (len(counts) - 1) // DAY
    # Weekdays are counted from the last active day: 0 is its weekday, 1 the next, and so on.
    weekdays = [days[last_day - 7 * weeks + offset : last_day : 7] for offset in range(7)]
    missed = [weekdays[(day - last_day) % 7] for day in range(last_day + 1, today) if day not in unknown]
    active_weeks = [sum(map(bool, weekday)) for weekday in missed if is_workday(weekday, weekdays)]
    # An agent that usually has days of rest may be on holiday in the first week of its silence.
    rests = sum(1 for count in days[last_day - 13 : last_day + 1] if not count) > 1
    may_be_holiday = rests and today - last_day <= 7
    min_evidence = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    if sum(evidence(active, weeks) for active in active_weeks) < min_evidence:
        return None
    return Silence(last + 1, sum(active_weeks) / weeks, "days")


def evidence(active: float, weeks: int) -> float:
    """Return how strongly a quiet hour or day shows silence, if *active* of *weeks* earlier weeks had requests then."""
    return log((weeks + 1) / (weeks - active + 0.5)) if active else 0.0


def weeks_of_history(counts: Sequence[int], last_day: int) -> int:
    """Return the number of complete weeks of history before a day, at most 8."""
    first = first_active_day(counts)
    weeks = 0 if first is None else (last_day - first // DAY) // 7
    return min(weeks, thresholds.SILENCE_WEEKS)


def weeks_active(counts: Sequence[int], hour: int, last_day: int, weeks: int) -> int:
    """Return the number of weeks before *last_day* in which an agent was active in the same hour of the week.

    :param hour: an index of *counts*, or an hour after their end.
    """
    first = (last_day - 7 * weeks) * DAY
    same_hours = range(first + (hour - first) % WEEK, last_day * DAY, WEEK)
    return sum(1 for same_hour in same_hours if counts[same_hour])


def was_working(counts: Sequence[int], hours: Sequence[int], begins: int, weeks: int) -> bool:
    """Return whether an agent made at least half of its usual requests (the weeks' median) in *hours*.

    :param begins: the first hour of the weeks.
    """
    first_week = [begins + (hour - begins) % WEEK for hour in hours]
    typical = median_low(sum(counts[hour + week * WEEK] for hour in first_week) for week in range(weeks))
    return 2 * sum(counts[hour] for hour in hours) >= typical


def is_workday(weekday: Sequence[int], weekdays: Sequence[Sequence[int]]) -> bool:
    """Return whether a weekday has at least half as many requests as the agent's busiest weekday."""
    return 2 * sum(weekday) >= max(map(sum, weekdays))
