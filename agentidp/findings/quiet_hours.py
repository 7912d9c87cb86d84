"""How unlikely it is that an agent, or a sample of agents, is quiet: arithmetic on lists of active hours.

An hour's evidence is -ln(1 - p), where p is the share of the weeks before in which the agent was active in the same
hour of the week, smoothed to (k + 1/2) / (n + 1) for k of n weeks; none if k is 0. A day's evidence is the same of
days. An organization's evidence is the Poisson deviance of the number of agents that are active in an hour from the
usual one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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


@dataclass(frozen=True)
class QuietTime:
    """Hours in which the agents of a sample were quiet: from ``begins`` to before ``ends``.

    ``stops`` is the hour in which they stopped, which is before ``begins`` if that was within a marked holiday.
    ``expected`` and ``observed`` are active agents in all its hours together; ``stopped`` are the places in the sample
    of those that stopped, if it is not most of them.
    """

    stops: int
    begins: int
    ends: int
    lasts: bool
    expected: float
    observed: float
    stopped: tuple[int, ...] = ()


def evidence(active: float, weeks: int) -> float:
    """Of one quiet hour or day, in which there was activity in so many of the weeks."""
    return log((weeks + 1) / (weeks - active + 0.5)) if active else 0.0


def known_weeks(counts: Sequence[int], last_day: int) -> int:
    """Whole weeks of history before a day, at most 8."""
    first = first_active_day(counts)
    weeks = 0 if first is None else (last_day - first // DAY) // 7
    return min(weeks, thresholds.SILENCE_WEEKS)


def silence_of_agent(
    counts: Sequence[int], quiet_hours: Collection[int], quiet_days: Collection[int]
) -> Silence | None:
    """Whether an agent is silent.

    :param counts: its requests by the hour; the last hour still runs.
    :param quiet_hours: those in which the whole organization was quiet, which count for no agent; and such days.
    """
    now = len(counts) - 1
    last = next((hour for hour in range(now, -1, -1) if counts[hour]), None)
    if last is None or now // DAY - last // DAY > 7 * thresholds.MAX_SILENCE_WEEKS:
        return None
    weeks = known_weeks(counts, last // DAY)
    if weeks < thresholds.MIN_SILENCE_WEEKS:
        return None
    if works_round_the_clock(counts, last):
        return _silence_by_hours(counts, last, weeks, quiet_hours)
    return _silence_by_days(counts, last, weeks, quiet_days) or _silence_by_gap(counts, last, weeks, quiet_hours)


def works_round_the_clock(counts: Sequence[int], last: int) -> bool:
    """In its last day, and in the two days a week before: a loop runs day and night as well."""
    hours = thresholds.ROUND_THE_CLOCK_HOURS
    week_before = (last // DAY - 8) * DAY
    return (
        sum(1 for count in counts[max(last - DAY + 1, 0) : last + 1] if count) >= hours
        and week_before >= 0
        and sum(1 for count in counts[week_before : week_before + 2 * DAY] if count) >= 2 * hours
    )


def weeks_active(counts: Sequence[int], hour: int, last_day: int, weeks: int) -> int:
    """In how many of the weeks before its last day an agent was active in an hour of the week."""
    first = (last_day - 7 * weeks) * DAY
    places = range(first + (hour - first) % WEEK, last_day * DAY, WEEK)
    return sum(1 for place in places if counts[place])


def _silence_by_hours(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    gone = [hour for hour in range(last + 1, len(counts) - 1) if hour not in quiet]
    active = [weeks_active(counts, hour, last // DAY, weeks) for hour in gone]
    if sum(evidence(each, weeks) for each in active) < thresholds.MIN_EVIDENCE_HOURS:
        return None
    return Silence(last + 1, sum(active) / weeks, "hours")


def _silence_by_days(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    days, last_day, today = daily(counts), last // DAY, (len(counts) - 1) // DAY
    past = days[last_day - 7 * weeks : last_day]
    by_weekday = [past[place::7] for place in range(7)]
    busiest = max(map(sum, by_weekday))
    # A weekday on which it does less than half of its most, such as on a weekend, is none that it would miss.
    is_workday = [2 * sum(weekday) >= busiest for weekday in by_weekday]
    works_daily = all(past) and all(is_workday)
    # Whoever leaves early before a day of rest may be away on a holiday after it.
    part_day = _part_day_evidence(counts, last, weeks) if is_workday[1] else 0.0
    total, expected = part_day, 0.0
    for day in range(last_day + 1, today):
        weekday = by_weekday[(day - last_day) % 7]
        if day in quiet or not is_workday[(day - last_day) % 7]:
            continue
        active = sum(1 for each in weekday if each)
        expected += active / weeks
        # Of one that works every day alike, each day says more than its weekday alone.
        total += evidence(len(past), len(past)) if works_daily else evidence(active, weeks)
    rests = sum(1 for each in days[last_day - 13 : last_day + 1] if each) < 13
    may_be_holiday = rests and not part_day and today - last_day <= 7
    needed = thresholds.MIN_EVIDENCE_WORKDAYS if may_be_holiday else thresholds.MIN_EVIDENCE_DAYS
    return Silence(last + 1, expected, "days") if expected and total >= needed else None


def _part_day_evidence(counts: Sequence[int], last: int, weeks: int) -> float:
    """Of the rest of the day on which it stopped, if that was amid its work: public holidays begin with rest."""
    rest = range(last + 1, (last // DAY + 1) * DAY)
    missed = [evidence(weeks_active(counts, hour, last // DAY, weeks), weeks) for hour in rest]
    steady = evidence(thresholds.STEADY_SHARE * weeks, weeks)
    next_hours = missed[: thresholds.MIN_STOPPED_HOURS]
    # Hours of work later on the same UTC day are the next day of whoever is in the west, and may be a holiday.
    if len(next_hours) < thresholds.MIN_STOPPED_HOURS or min(next_hours) < steady:
        return 0.0
    return min(sum(missed), thresholds.MAX_EVIDENCE_PART_DAY)


def _silence_by_gap(counts: Sequence[int], last: int, weeks: int, quiet: Collection[int]) -> Silence | None:
    """Of an agent without a rhythm: its pause is many times the longest before."""
    active = [hour for hour in range((last // DAY - 7 * weeks) * DAY, last + 1) if counts[hour]]
    of_weekdays = [sum(daily(counts)[last // DAY - 7 * weeks + place : last // DAY : 7]) for place in range(7)]
    longest = max((after - before for before, after in pairwise(active)), default=0)
    gap = sum(1 for hour in range(last + 1, len(counts) - 1) if hour not in quiet)
    # Of one that rests on some weekdays a holiday beside them is no long pause.
    if 2 * min(of_weekdays) < max(of_weekdays):
        return None
    if len(active) < 20 or gap < DAY or gap <= thresholds.MAX_GAP_TIMES * longest:
        return None
    return Silence(last + 1, gap * len(active) / (7 * weeks * DAY), "hours")


def median_low(values: Sequence[int]) -> int:
    """The lower of the middle ones."""
    return sorted(values)[(len(values) - 1) // 2]


def usual_agents(active: Sequence[int], hour: int, first: int) -> int | None:
    """How many agents of a sample are usually active in an hour; ``None`` if too few weeks are known."""
    past = [active[before] for before in range(hour - WEEK, -1, -WEEK)[: thresholds.SILENCE_WEEKS] if before >= first]
    return median_low(past) if len(past) >= thresholds.MIN_SILENCE_WEEKS else None


def quiet_hours_of(active: Sequence[int], since: int) -> tuple[list[list[int]], dict[int, int]]:
    """The runs of quiet hours of an organization, and each hour that is usually busy with its usual number of agents.

    An hour is busy if usually a few agents are active in it, and quiet if fewer than half of these are.

    :param active: how many of the sample were active in each hour; the last one still runs.
    :param since: the hour from which on one looks.
    """
    first = next((hour for hour, number in enumerate(active) if number), len(active))
    usual = {hour: usual_agents(active, hour, first) for hour in range(since, len(active) - 1)}
    busy = {hour: number for hour, number in usual.items() if number and number >= thresholds.MIN_USUAL_AGENTS}
    groups: list[list[int]] = [[]]
    for hour, number in busy.items():
        if 2 * active[hour] < number:
            groups[-1].append(hour)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group], busy


def quiet_times(active: Sequence[int], since: int, holidays: Collection[int]) -> list[QuietTime]:
    """The times in which most of the organization was quiet.

    1. Together the hours are unlikely: the sum of their deviances reaches a limit. Of a marked holiday no hour counts,
       but what stopped within it is an outage if it stays quiet after it.
    2. The time began or ended amid work: within the two hours before or after it, two thirds of the usual agents were
       active. A holiday that nobody marked comes and goes with the rest before and after it.
    3. It lasts if its last hour is the last in which agents are usually active, and they are not back.

    :param holidays: the hours of those that were marked.
    """
    found = []
    quiet_runs, usual_in_busy_hours = quiet_hours_of(active, since)
    for run in quiet_runs:
        counted = [hour for hour in run if hour not in holidays]
        if not counted:
            continue
        first, last = run[0], run[-1]
        usual, seen = [usual_in_busy_hours[hour] for hour in counted], [active[hour] for hour in counted]
        is_unlikely = sum(map(poisson_deviance, seen, usual)) >= thresholds.MIN_EVIDENCE_ORGANIZATION
        began_amid_work = _is_at_work(active[max(first - 2, 0) : first], usual_in_busy_hours[first])
        ended_amid_work = _is_at_work(active[last + 1 : last + 3], usual_in_busy_hours[last])
        lasts = last == max(usual_in_busy_hours) and not ended_amid_work
        if is_unlikely and (began_amid_work or ended_amid_work):
            ends = len(active) if lasts else counted[-1] + 1
            found.append(QuietTime(first, counted[0], ends, lasts, sum(usual), sum(seen)))
    return found


def poisson_deviance(seen: int, usual: int) -> float:
    """Half the deviance: ln of how many times as likely the count would be if it were the mean, and not *usual*."""
    return usual - seen + (seen * log(seen / usual) if seen else 0.0)


def _is_at_work(active: Sequence[int], usual: int) -> bool:
    return any(3 * number >= 2 * usual for number in active)


def partial_silences(sample: Sequence[Sequence[int]], since: int) -> list[QuietTime]:
    """The times in which part of the organization was quiet: agents that stopped in the same hour amid their work.

    :param sample: the requests by the hour of each agent.
    """
    found: list[QuietTime] = []
    length = min(map(len, sample), default=0)
    weeks = [known_weeks(counts, length // DAY) for counts in sample]
    for hour in range(max(since, 1), length - thresholds.MIN_STOPPED_HOURS):
        if found and hour < found[-1].ends:
            continue
        stopped = tuple(place for place, counts in enumerate(sample) if _stops(counts, hour, weeks[place]))
        usual = sum(1 for counts in sample if counts[hour - 1])
        if len(stopped) < thresholds.MIN_STOPPED_AGENTS or len(stopped) < thresholds.MIN_STOPPED_SHARE * usual:
            continue
        ends = hour
        while ends < length - 1 and 2 * sum(1 for place in stopped if sample[place][ends]) < len(stopped):
            ends += 1
        observed = sum(1 for counts in sample for each in counts[hour:ends] if each)
        lasts = ends >= length - 1
        found.append(QuietTime(hour, hour, length if lasts else ends, lasts, usual * (ends - hour), observed, stopped))
    return found


def _stops(counts: Sequence[int], hour: int, weeks: int) -> bool:
    """Whether an agent was active before an hour and not in those from it on, in which it nearly always is."""
    hours = range(hour, hour + thresholds.MIN_STOPPED_HOURS)
    if not counts[hour - 1] or any(counts[each] for each in hours) or weeks < thresholds.MIN_SILENCE_WEEKS:
        return False
    steady = thresholds.STEADY_SHARE * weeks
    day = hour // DAY
    return all(weeks_active(counts, each, min(day, each // DAY), weeks) >= steady for each in hours)
