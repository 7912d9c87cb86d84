"""Whether one agent is silent: arithmetic on a plain list of its requests by the hour.

Statistic: the evidence of a quiet hour or day, -ln(1 - p). p is the share of the last 8 weeks in which the agent was
active in the same hour of the week (or on the same weekday), smoothed to (k + 1/2) / (n + 1) for k of n weeks. What it
was never active in says nothing. The evidence of several is their sum.

1. **By hours**, while it should be at work: the steady hours that it has missed since its last request, up to its next
   rest. These must be more than twice as many as in its second-longest pause of the 8 weeks: an agent that depends on a
   few people pauses as they do.
2. **By days**: the whole UTC days that it has missed, since a holiday silences all hours of a day at once. If it rests
   on some days, it may have a holiday, and more days are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, daily, first_active_day


@dataclass(frozen=True)
class Silence:
    """An agent's silence: from which hour on, and how many active ``hours`` or ``days`` were to be expected in it."""

    since: int
    expected: float
    unit: str


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


def silence_of_agent(
    counts: Sequence[int], quiet_hours: Collection[int], quiet_days: Collection[int]
) -> Silence | None:
    """Whether an agent is silent.

    :param counts: its requests by the hour; the last hour still runs.
    :param quiet_hours: those in which the whole organization was quiet, or that are of a holiday: they count for no
        agent.
    :param quiet_days: likewise, by days.
    """
    now = len(counts) - 1
    last = next((hour for hour in range(now, -1, -1) if counts[hour]), None)
    if last is None or now // DAY - last // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    weeks = known_weeks(counts, last // DAY)
    if weeks < thresholds.MIN_SILENCE_WEEKS:
        return None
    by_hours = silence_by_hours(counts, last, weeks, quiet_hours)
    return by_hours or silence_by_days(counts, last, weeks, quiet_days)


def silence_by_hours(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    """The silence of an agent that stopped while it should be at work."""
    # From an hour of the week to the number of weeks; the last day begins one.
    begins = (last // DAY - 7 * weeks) * DAY
    active = [weeks_active(counts, begins + place, last // DAY, weeks) for place in range(WEEK)]
    missed = missed_hours(range(last + 1, len(counts) - 1), active, begins, weeks, quiet)
    of_missed = [active[(hour - begins) % WEEK] for hour in missed]
    if sum(evidence(each, weeks) for each in of_missed) < thresholds.MIN_EVIDENCE_HOURS:
        return None
    if len(missed) <= thresholds.PAUSE_TIMES * usual_pause(counts, last, active, begins, weeks, quiet):
        return None
    return Silence(last + 1, sum(of_missed) / weeks, "hours")


def missed_hours(
    hours: Iterable[int], active: Sequence[int], begins: int, weeks: int, quiet: Collection[int]
) -> list[int]:
    """The steady ones of the quiet hours after an active one, up to the next rest.

    :param active: of each hour of the week from *begins* on, in how many of the weeks the agent was active.
    """
    missed, idle = [], 0
    for hour in hours:
        if active[(hour - begins) % WEEK] >= thresholds.STEADY_SHARE * weeks:
            idle = 0
            if hour not in quiet:
                missed.append(hour)
        else:
            idle += 1
            if idle >= thresholds.REST_HOURS:
                break
    return missed


def usual_pause(
    counts: Sequence[int], last: int, active: Sequence[int], begins: int, weeks: int, quiet: Collection[int]
) -> int:
    """The second-most steady hours that the agent missed in a pause of the weeks: once may have been an incident."""
    pauses = [0, 0]
    work = [hour for hour in range(begins, last + 1) if counts[hour]]
    for before, after in pairwise(work):
        if after - before > 1 + pauses[-2]:
            pauses.append(len(missed_hours(range(before + 1, after), active, begins, weeks, quiet)))
            pauses.sort()
    return pauses[-2]


def silence_by_days(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    """The silence of any agent, by the whole days that it has missed."""
    days, last_day, today = daily(counts), last // DAY, (len(counts) - 1) // DAY
    # A weekday is numbered by how many days it is after that of the last day: 0 is the same weekday, 1 the next.
    weekdays = [days[last_day - 7 * weeks + days_after : last_day : 7] for days_after in range(7)]
    workdays = [days_after for days_after in range(7) if is_workday(weekdays[days_after], weekdays)]
    missed = [(day - last_day) % 7 for day in range(last_day + 1, today) if day not in quiet]
    active = [sum(map(bool, weekdays[days_after])) for days_after in missed if days_after in workdays]
    may_be_holiday = rests(days, last_day) and today - last_day <= 7
    needed = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    total = sum(evidence(each, weeks) for each in active)
    return Silence(last + 1, sum(active) / weeks, "days") if active and total >= needed else None


def is_workday(weekday: Sequence[int], weekdays: Sequence[Sequence[int]]) -> bool:
    """Whether a weekday has at least half of the requests of the busiest one: an agent would not miss any other."""
    return 2 * sum(weekday) >= max(map(sum, weekdays))


def rests(days: Sequence[int], last_day: int) -> bool:
    """Whether an agent had more than one quiet day in the two weeks up to its last."""
    two_weeks = days[last_day - 13 : last_day + 1]
    return sum(1 for count in two_weeks if not count) > 1
