"""Whether one agent is silent: arithmetic on a plain list of its requests by the hour.

Statistic: the sum of the evidence (:mod:`agentidp.findings.habit`) of what it has missed since its last request.

1. An agent that works around the clock is judged by the hours that it has missed.
2. Any other is judged by whole UTC days, since a holiday silences all hours of a day at once.
3. If it stopped in the middle of its work, and before a working day, the rest of that day counts too.
4. If it rests on some days, and stopped with its work done, it may have a holiday: more days are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agentidp.findings import thresholds
from agentidp.findings.habit import evidence, is_amid_work, known_weeks, weeks_active
from agentidp.findings.history import DAY, daily


@dataclass(frozen=True)
class Silence:
    """An agent's silence: from which hour on, and how many active ``hours`` or ``days`` were to be expected in it."""

    since: int
    expected: float
    unit: str


def silence_of_agent(
    counts: Sequence[int], quiet_hours: Collection[int], quiet_days: Collection[int]
) -> Silence | None:
    """Whether an agent is silent.

    :param counts: its requests by the hour; the last hour still runs.
    :param quiet_hours: those in which the whole organization was quiet, or that are of a holiday: they count for no
        agent that works around the clock.
    :param quiet_days: likewise, for an agent that does not.
    """
    now = len(counts) - 1
    last = next((hour for hour in range(now, -1, -1) if counts[hour]), None)
    if last is None or now // DAY - last // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    weeks = known_weeks(counts, last // DAY)
    if weeks < thresholds.MIN_SILENCE_WEEKS:
        return None
    if works_round_the_clock(counts, last):
        return silence_by_hours(counts, last, weeks, quiet_hours)
    return silence_by_days(counts, last, weeks, quiet_days)


def works_round_the_clock(counts: Sequence[int], last: int) -> bool:
    """Whether an agent was active in nearly every hour of the 24 up to its last, and of two days a week before.

    A loop runs day and night as well, but not so long.
    """
    hours, last_day = thresholds.ROUND_THE_CLOCK_HOURS, last // DAY
    if last_day < 8:
        return False
    last_24_hours = counts[last - DAY + 1 : last + 1]
    days_8_and_7_before = counts[(last_day - 8) * DAY : (last_day - 6) * DAY]
    return active_hours(last_24_hours) >= hours and active_hours(days_8_and_7_before) >= 2 * hours


def active_hours(counts: Sequence[int]) -> int:
    """How many hours had a request."""
    return sum(1 for count in counts if count)


def silence_by_hours(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    """The silence of an agent that works around the clock."""
    missed = [hour for hour in range(last + 1, len(counts) - 1) if hour not in quiet]
    active = [weeks_active(counts, hour, last // DAY, weeks) for hour in missed]
    if sum(evidence(each, weeks) for each in active) < thresholds.MIN_EVIDENCE_HOURS:
        return None
    return Silence(last + 1, sum(active) / weeks, "hours")


def silence_by_days(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    """The silence of an agent that does not: by the whole days that it has missed."""
    days, last_day, today = daily(counts), last // DAY, (len(counts) - 1) // DAY
    # A weekday is numbered by how many days it is after that of the last day: 0 is the same weekday, 1 the next.
    weekdays = [days[last_day - 7 * weeks + days_after : last_day : 7] for days_after in range(7)]
    workdays = [days_after for days_after in range(7) if is_workday(weekdays[days_after], weekdays)]
    missed = [(day - last_day) % 7 for day in range(last_day + 1, today) if day not in quiet]
    active = [sum(map(bool, weekdays[days_after])) for days_after in missed if days_after in workdays]
    expected = sum(active) / weeks
    # Whoever leaves early before a day of rest may be away on a holiday after it.
    day_after = 1
    stopped = evidence_of_stopping(counts, last, weeks) if day_after in workdays else 0.0
    may_be_holiday = not stopped and rests(days, last_day) and today - last_day <= 7
    needed = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    total = stopped + sum(evidence(each, weeks) for each in active)
    return Silence(last + 1, expected, "days") if expected and total >= needed else None


def is_workday(weekday: Sequence[int], weekdays: Sequence[Sequence[int]]) -> bool:
    """Whether a weekday has at least half of the requests of the busiest one: an agent would not miss any other."""
    return 2 * sum(weekday) >= max(map(sum, weekdays))


def rests(days: Sequence[int], last_day: int) -> bool:
    """Whether an agent had more than one quiet day in the two weeks up to its last."""
    two_weeks = days[last_day - 13 : last_day + 1]
    return sum(1 for count in two_weeks if not count) > 1


def evidence_of_stopping(counts: Sequence[int], last: int, weeks: int) -> float:
    """Of the rest of the day, if an agent stopped in the middle of its work. A holiday begins with rest."""
    midnight = (last // DAY + 1) * DAY
    # Hours of work later on the same UTC day are the next day of whoever is in the west, and may be a holiday.
    is_same_day = last + thresholds.MIN_STOPPED_HOURS < midnight
    if not is_same_day or not is_amid_work(counts, last + 1, last // DAY, weeks):
        return 0.0
    missed = sum(evidence(weeks_active(counts, hour, last // DAY, weeks), weeks) for hour in range(last + 1, midnight))
    return min(missed, thresholds.MAX_EVIDENCE_PART_DAY)
