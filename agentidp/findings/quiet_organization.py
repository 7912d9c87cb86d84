"""Decide whether the organization, or part of it, was quiet, from the number of active agents of a sample by the hour.

Statistic: Poisson's deviance of the number of active agents from the usual one, which is the median of the same hour of
the week in 8 weeks. Half of the deviance is a logarithm: how many times less likely the number is than the usual one.

1. An hour is *busy* if two or more agents are usually active in it. A busy hour is *quiet* if fewer than half of the
   usual agents are active.
2. The organization is quiet in a run of quiet hours whose half deviances add up to 8, which chance does not explain.
   The run must begin or end in the middle of work, because a holiday that nobody marked has a rest before and after it.
3. An organization in which usually only one agent is active at a time has no busy hours. It is quiet on a whole day
   without a request if the median of the same weekday is 20 requests or more.
4. Part of it is quiet if four agents or more, and a quarter of those at work, stop in the same hour, in the middle of
   their work.

Example: 8 agents are usually active in an hour. If no agent is, half the deviance is 8, and one such hour is enough. If
3 agents are, it is 8 - 3 + 3 ln(3/8) = 2.06, and four such hours are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from math import log
from statistics import median_low
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, daily, first_active_day, runs
from agentidp.findings.quiet_agent import weeks_active, weeks_of_history


class QuietTime(NamedTuple):
    """A period in which the agents of a sample were quiet. An ongoing quiet period includes the current hour."""

    begins: int
    ends: int  # the hour after the last
    expected: int  # the usual agents, summed over the hours
    observed: int  # the active agents, summed over the hours
    stopped: tuple[int, ...] = ()  # indexes in the sample of the agents that stopped, if only some are quiet
    may_be_holiday: bool = False  # whether only whole days were compared, for which a public holiday looks the same


def busy_hours(active: Sequence[int], since: int) -> dict[int, int]:
    """Return the busy hours from *since* on, and for each the number of agents that are usually active.

    :param active: the number of active agents by hour. The last hour is not over.
    """
    first = next((hour for hour, count in enumerate(active) if count), len(active))
    busy = {}
    for hour in range(since, len(active) - 1):
        past = [active[earlier] for earlier in range(hour - WEEK, first - 1, -WEEK)[: thresholds.SILENCE_WEEKS]]
        if len(past) >= thresholds.MIN_SILENCE_WEEKS and median_low(past) >= thresholds.MIN_USUAL_AGENTS:
            busy[hour] = median_low(past)
    return busy


def runs_of_quiet_hours(active: Sequence[int], busy: dict[int, int]) -> list[list[int]]:
    """Return runs of quiet hours. Two hours are in the same run if all busy hours between them were quiet."""
    hours = list(busy)
    quiet_indexes = [index for index, hour in enumerate(hours) if 2 * active[hour] < busy[hour]]
    return [[hours[index] for index in run] for run in runs(quiet_indexes, 1)]


def quiet_times(active: Sequence[int], busy: dict[int, int], holidays: Collection[int]) -> list[QuietTime]:
    """Return the periods in which most of the organization was quiet.

    A quiet time is ongoing if its last hour is the last busy hour and the agents are not back. Hours of a marked
    holiday are no evidence; hours after it are, also if the agents stopped within the holiday.

    :param holidays: the hours of marked holidays.
    """
    times = []
    for run in runs_of_quiet_hours(active, busy):
        # The hours before and after the run show whether the agents stopped, or came back, in the middle of their work.
        evidence_hours = [hour for hour in run if hour not in holidays]
        first, last = run[0], run[-1]
        # Two hours are checked on each side, because an agent may stop or start an hour late.
        began_amid_work = is_working(active[max(first - 2, 0) : first], busy[first])
        ended_amid_work = is_working(active[last + 1 : last + 3], busy[last])
        if evidence_hours and is_unlikely(evidence_hours, active, busy) and (began_amid_work or ended_amid_work):
            is_ongoing = last == max(busy) and not ended_amid_work
            ends = len(active) if is_ongoing else evidence_hours[-1] + 1
            expected, observed = (sum(counts[hour] for hour in evidence_hours) for counts in (busy, active))
            times.append(QuietTime(evidence_hours[0], ends, expected, observed))
    return times


def quiet_days(
    requests: Sequence[int], busy: Collection[int], since: int, holidays: Collection[int]
) -> list[QuietTime]:
    """Return the days without requests that have no busy hours, as quiet periods.

    Such days are one period if no request was made between them. The period is ongoing if no request was made after it.

    :param requests: the requests of the whole sample by hour. The last hour is not over.
    :param since: the first day that is judged.
    :param holidays: the hours of marked holidays.
    """
    days, first = daily(requests), first_active_day(requests)
    if first is None:
        return []
    # Quiet days form a group if no day between them has requests. The key of a group is the number of days with
    # requests before it.
    groups: dict[int, list[int]] = {}
    for day in range(since, len(days) - 1):
        same_weekdays = [days[earlier] for earlier in range(day - 7, first // DAY - 1, -7)[: thresholds.SILENCE_WEEKS]]
        if (
            not days[day]
            and len(same_weekdays) >= thresholds.MIN_SILENCE_WEEKS
            and median_low(same_weekdays) >= thresholds.MIN_QUIET_DAY_REQUESTS
            and not any(hour in busy or hour in holidays for hour in range(day * DAY, (day + 1) * DAY))
        ):
            groups.setdefault(sum(map(bool, days[:day])), []).append(day)
    last_request = max(hour for hour, count in enumerate(requests) if count)
    return [
        QuietTime(
            group[0] * DAY,
            len(requests) if last_request < group[0] * DAY else (group[-1] + 1) * DAY,
            expected=len(group),
            observed=0,
            may_be_holiday=True,
        )
        for group in groups.values()
    ]


def is_unlikely(hours: Sequence[int], active: Sequence[int], busy: dict[int, int]) -> bool:
    """Return whether so few active agents in these hours are unlikely to be chance.

    The sum of half the Poisson deviances of the hours is compared with a threshold.

    :param active: number of active agents per hour.
    :param busy: number of usually active agents per hour.
    """
    evidence = 0.0
    for hour in hours:
        count, usual = active[hour], busy[hour]
        evidence += usual - count + (count * log(count / usual) if count else 0.0)
    return evidence >= thresholds.MIN_EVIDENCE_ORGANIZATION


def is_working(active: Sequence[int], usual: int) -> bool:
    """Return whether at least two thirds of the usual number of agents are active in one of several hours."""
    return any(3 * count >= 2 * usual for count in active)


def partial_silences(sample: Sequence[Sequence[int]], since: int, holidays: Collection[int]) -> list[QuietTime]:
    """Return the periods, from hour *since* on, in which part of the organization was quiet, until half of it is back.

    :param sample: the requests by the hour of each agent. The last hour is not over.
    :param holidays: the hours of marked holidays. Agents that stop within a holiday must stay quiet after it.
    """
    times: list[QuietTime] = []
    current = min(map(len, sample), default=0) - 1
    for begins in range(since, current):
        if times and begins < times[-1].ends:
            continue
        working_hours = (hour for hour in range(begins, current) if hour not in holidays)
        hours = list(islice(working_hours, thresholds.MIN_STOPPED_HOURS))
        stopped = tuple(index for index, counts in enumerate(sample) if has_stopped(counts, begins, hours))
        active_before = sum(1 for counts in sample if counts[begins - 1])
        if len(stopped) >= max(thresholds.MIN_STOPPED_AGENTS, thresholds.MIN_STOPPED_SHARE * active_before):
            ends = begins
            while ends < current and 2 * sum(1 for index in stopped if sample[index][ends]) < len(stopped):
                ends += 1
            expected = (ends - begins) * active_before
            observed = sum(1 for counts in sample for count in counts[begins:ends] if count)
            times.append(QuietTime(begins, current + 1 if ends == current else ends, expected, observed, stopped))
    return times


def has_stopped(counts: Sequence[int], begins: int, hours: Sequence[int]) -> bool:
    """Return whether an agent was active in the hour before *begins*, and then not until after the last of *hours*.

    :param hours: hours in which the agent must usually be active.
    """
    if len(hours) < thresholds.MIN_STOPPED_HOURS or not counts[begins - 1] or any(counts[begins : hours[-1] + 1]):
        return False
    weeks = weeks_of_history(counts, begins // DAY)
    active_weeks = [weeks_active(counts, hour, begins // DAY, weeks) for hour in hours]
    return weeks >= thresholds.MIN_SILENCE_WEEKS and min(active_weeks) >= thresholds.STEADY_SHARE * weeks
