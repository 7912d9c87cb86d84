"""Whether one agent is silent: arithmetic on a plain list of its requests by the hour.

Statistic: the evidence of a quiet hour or day, -ln(1 - p). p is the share of the last 8 weeks in which the agent was
active in the same hour of the week (or on the same weekday), smoothed to (k + 1/2) / (n + 1) for k of n weeks. What it
was never active in says nothing. The evidence of several is their sum.

1. **By hours**, if it stopped in the middle of its work: in the steady hours of its last eight, since its last rest, it
   made at least half of the requests that are typical of them. On a holiday an agent that works at all makes fewer.
   What counts are the steady hours that it has missed, up to its next rest. They must be more than twice as many as in
   its second-longest pause of the 8 weeks: an agent that depends on a few people pauses as they do. One that stopped
   shortly before its first steady hour is judged so, too.
2. **By days** otherwise: the whole UTC days that it has missed, since a holiday silences all hours of a day at once. If
   it rests on some days, it may have a holiday, and more days are needed.

An hour is steady if the agent was active in it in three of four weeks. Four hours in a row that are not are a rest.
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
    """An agent's silence: from which hour on, and how many active ``hours`` or ``days`` were to be expected in it."""

    since: int
    expected: float
    unit: str


def silence_of_agent(
    counts: Sequence[int], unknown_hours: Collection[int], unknown_days: Collection[int]
) -> Silence | None:
    """Whether an agent is silent.

    :param counts: its requests by the hour; the last hour still runs.
    :param unknown_hours: those that count for no agent that is judged by hours.
    :param unknown_days: likewise, by days.
    """
    now = len(counts) - 1
    last = next((hour for hour in range(now, -1, -1) if counts[hour]), None)
    if last is None or now // DAY - last // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    weeks = known_weeks(counts, last // DAY)
    if weeks < thresholds.MIN_SILENCE_WEEKS:
        return None
    by_hours = silence_by_hours(counts, last, weeks, unknown_hours)
    return by_hours or silence_by_days(counts, last, weeks, unknown_days)


def silence_by_hours(counts: Sequence[int], last: int, weeks: int, unknown: Collection[int]) -> Silence | None:
    """The silence of an agent that stopped in the middle of its work."""
    begins = (last // DAY - 7 * weeks) * DAY
    # Of each hour of the week from then on, in how many of the weeks the agent was active.
    active = [weeks_active(counts, begins + place, last // DAY, weeks) for place in range(WEEK)]

    def steady(hours: Iterable[int]) -> list[int]:
        """Those of the hours in which the agent is steadily active, up to a rest."""
        found, idle = [], 0
        for hour in hours:
            idle = 0 if active[(hour - begins) % WEEK] >= thresholds.STEADY_SHARE * weeks else idle + 1
            if idle >= thresholds.REST_HOURS:
                break
            if not idle and hour not in unknown:
                found.append(hour)
        return found

    missed = steady(range(last + 1, len(counts) - 1))
    of_missed = [active[(hour - begins) % WEEK] for hour in missed]
    if sum(evidence(each, weeks) for each in of_missed) < thresholds.MIN_EVIDENCE_HOURS:
        return None
    worked = steady(range(last, last - thresholds.WORK_HOURS, -1))
    if not is_at_work(counts, worked, begins, weeks):
        return None
    work = (hour for hour in range(begins, last + 1) if counts[hour])
    pauses = [len(steady(range(before + 1, after))) for before, after in pairwise(work)]
    # The second-longest: once may have been an incident.
    if len(missed) <= thresholds.PAUSE_TIMES * sorted([0, 0, *pauses])[-2]:
        return None
    return Silence(last + 1, sum(of_missed) / weeks, "hours")


def silence_by_days(counts: Sequence[int], last: int, weeks: int, unknown: Collection[int]) -> Silence | None:
    """The silence of any agent, by the whole days that it has missed."""
    days, last_day, today = daily(counts), last // DAY, (len(counts) - 1) // DAY
    # A weekday is numbered by how many days it is after that of the last day: 0 is the same weekday, 1 the next.
    weekdays = [days[last_day - 7 * weeks + days_after : last_day : 7] for days_after in range(7)]
    missed = [weekdays[(day - last_day) % 7] for day in range(last_day + 1, today) if day not in unknown]
    active = [sum(map(bool, weekday)) for weekday in missed if is_workday(weekday, weekdays)]
    # An agent that rests may have a holiday within its first week.
    rests = sum(1 for count in days[last_day - 13 : last_day + 1] if not count) > 1
    may_be_holiday = rests and today - last_day <= 7
    needed = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    if sum(evidence(each, weeks) for each in active) < needed:
        return None
    return Silence(last + 1, sum(active) / weeks, "days")


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


def is_at_work(counts: Sequence[int], hours: Sequence[int], begins: int, weeks: int) -> bool:
    """Whether an agent made at least half of the requests that are typical of some hours, by the median of the weeks.

    :param begins: the first hour of these weeks.
    """
    places = [begins + (hour - begins) % WEEK for hour in hours]
    typical = median_low(sum(counts[place + week * WEEK] for place in places) for week in range(weeks))
    return 2 * sum(counts[hour] for hour in hours) >= typical


def is_workday(weekday: Sequence[int], weekdays: Sequence[Sequence[int]]) -> bool:
    """Whether a weekday has at least half of the requests of the busiest one: an agent would not miss any other."""
    return 2 * sum(weekday) >= max(map(sum, weekdays))
