"""Decide whether the organization, or part of it, was quiet, from the number of active agents of a sample by the hour.

Statistic: Poisson's deviance of the number of active agents from the usual one, which is the median of the same hour of
the week in 8 weeks. Half of the deviance is a logarithm: how many times less likely the number is than the usual one.

1. An hour is *busy* if two or more agents are usually active in it. A busy hour is *quiet* if fewer than half of the
   usual agents are active.
2. The organization is quiet in a run of quiet hours whose half deviances add up to 8, which chance does not explain.
   The run must begin or end in the middle of work, because a holiday that nobody marked has a rest before and after it.
3. An organization in which usually only one agent is active at a time has no busy hours. It is quiet on a whole day
   without a request, if the median of the same weekday is 20 requests or more.
4. Part of it is quiet if four agents or more, and a quarter of those at work, stop in the same hour, in the middle of
   their work.

Example: 8 agents are usually active in an hour. If no agent is, half the deviance is 8, and one such hour is enough. If
3 agents are, it is 8 - 3 + 3 ln(3/8) = 2.06, and four such hours are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby, islice
from math import log
from statistics import median_low
from typing import NamedTuple

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK, daily, first_active_day, runs
from agentidp.findings.quiet_agent import known_weeks, weeks_active


class QuietTime(NamedTuple):
    """Hours in which the agents of a sample were quiet: from ``begins`` to before ``ends``.

    - A quiet time that lasts includes the current hour.
    - ``expected``, ``observed``: the usual and the active agents, summed over its hours.
    - ``stopped``: the places in the sample of the agents that stopped, if only part of the organization is quiet.
    - ``may_be_holiday``: only whole days were compared, and a public holiday looks the same.
    """

    begins: int
    ends: int
    expected: int
    observed: int
    stopped: tuple[int, ...] = ()
    may_be_holiday: bool = False


def busy_hours(active: Sequence[int], since: int) -> dict[int, int]:
    """Return the busy hours from *since* on, and the number of usually active agents in each.

    :param active: the number of active agents by the hour. The last hour is not over.
    """
    first = next((hour for hour, number in enumerate(active) if number), len(active))
    busy = {}
    for hour in range(since, len(active) - 1):
        past = [active[place] for place in range(hour - WEEK, first - 1, -WEEK)[: thresholds.SILENCE_WEEKS]]
        if len(past) >= thresholds.MIN_SILENCE_WEEKS and median_low(past) >= thresholds.MIN_USUAL_AGENTS:
            busy[hour] = median_low(past)
    return busy


def runs_of_quiet_hours(active: Sequence[int], busy: dict[int, int]) -> list[list[int]]:
    """Return the quiet hours, in runs without another busy hour between them."""
    hours = list(busy)
    quiet = [place for place, hour in enumerate(hours) if 2 * active[hour] < busy[hour]]
    return [[hours[place] for place in run] for run in runs(quiet, 1)]


def quiet_times(active: Sequence[int], busy: dict[int, int], holidays: Collection[int]) -> list[QuietTime]:
    """Return the times in which most of the organization was quiet.

    A quiet time lasts if its last hour is the last busy one and the agents are not back. Hours of a marked holiday are
    no evidence. Agents that stopped within it and stay quiet after it are.

    :param holidays: the hours of marked holidays.
    """
    times = []
    for run in runs_of_quiet_hours(active, busy):
        # The ends of the whole run show whether the agents stopped or came back amid work. Only its hours outside
        # holidays are evidence.
        counted = [hour for hour in run if hour not in holidays]
        first, last = run[0], run[-1]
        # Within two hours, because an agent may stop or start an hour late.
        began_amid_work = at_work(active[max(first - 2, 0) : first], busy[first])
        ended_amid_work = at_work(active[last + 1 : last + 3], busy[last])
        if counted and is_unlikely(counted, active, busy) and (began_amid_work or ended_amid_work):
            lasts = last == max(busy) and not ended_amid_work
            ends = len(active) if lasts else counted[-1] + 1
            expected, observed = (sum(numbers[hour] for hour in counted) for numbers in (busy, active))
            times.append(QuietTime(counted[0], ends, expected, observed))
    return times


def quiet_days(
    requests: Sequence[int], busy: Collection[int], since: int, holidays: Collection[int]
) -> list[QuietTime]:
    """Return the whole days without a request on which the hours say nothing, because none of them is busy.

    Such days are one quiet time if no request was made between them. It lasts if none was made after them.

    :param requests: the requests by the hour of the whole sample; the last hour still runs.
    :param since: the first day that is judged.
    :param holidays: the hours of marked holidays.
    """
    days, first = daily(requests), first_active_day(requests)
    if first is None:
        return []
    quiet = []
    for day in range(since, len(days) - 1):
        same_weekday = [days[past] for past in range(day - 7, first // DAY - 1, -7)[: thresholds.SILENCE_WEEKS]]
        hours = range(day * DAY, (day + 1) * DAY)
        if (
            not days[day]
            and len(same_weekday) >= thresholds.MIN_SILENCE_WEEKS
            and median_low(same_weekday) >= thresholds.MIN_QUIET_DAY_REQUESTS
            and not any(hour in busy or hour in holidays for hour in hours)
        ):
            quiet.append(day)
    # Quiet days without a request between them have the same number of days with requests before them.
    groups = groupby(quiet, key=lambda day: sum(1 for count in days[:day] if count))
    runs_of_days = [[*group] for _, group in groups]
    last_request = max(hour for hour, count in enumerate(requests) if count)
    return [
        QuietTime(
            run[0] * DAY,
            len(requests) if last_request < run[0] * DAY else (run[-1] + 1) * DAY,
            expected=len(run),
            observed=0,
            may_be_holiday=True,
        )
        for run in runs_of_days
    ]


def is_unlikely(hours: Sequence[int], active: Sequence[int], busy: dict[int, int]) -> bool:
    """Return whether the half deviances of some hours add up to more than chance explains."""
    evidence = 0.0
    for hour in hours:
        number, usual = active[hour], busy[hour]
        evidence += usual - number + (number * log(number / usual) if number else 0.0)
    return evidence >= thresholds.MIN_EVIDENCE_ORGANIZATION


def at_work(active: Sequence[int], usual: int) -> bool:
    """Return whether two thirds of the usual agents are active in one of some hours."""
    return any(3 * number >= 2 * usual for number in active)


def partial_silences(sample: Sequence[Sequence[int]], since: int, holidays: Collection[int]) -> list[QuietTime]:
    """Return the times from *since* on in which part of the organization was quiet, until half of the agents are back.

    :param sample: the requests by the hour of each agent. The last hour is not over.
    :param holidays: the hours of marked holidays. Agents that stop within them must stay quiet after them.
    """
    times: list[QuietTime] = []
    now = min(map(len, sample), default=0) - 1
    for begins in range(since, now):
        if times and begins < times[-1].ends:
            continue
        hours = list(
            islice((hour for hour in range(begins, now) if hour not in holidays), thresholds.MIN_STOPPED_HOURS)
        )
        stopped = tuple(place for place, counts in enumerate(sample) if stops(counts, begins, hours))
        at_work_before = sum(1 for counts in sample if counts[begins - 1])
        if len(stopped) >= max(thresholds.MIN_STOPPED_AGENTS, thresholds.MIN_STOPPED_SHARE * at_work_before):
            ends = begins
            while ends < now and 2 * sum(1 for place in stopped if sample[place][ends]) < len(stopped):
                ends += 1
            expected = (ends - begins) * at_work_before
            observed = sum(1 for counts in sample for count in counts[begins:ends] if count)
            times.append(QuietTime(begins, now + 1 if ends == now else ends, expected, observed, stopped))
    return times


def stops(counts: Sequence[int], begins: int, hours: Sequence[int]) -> bool:
    """Return whether an agent was active in the hour before *begins*, and then quiet up to the last of *hours*.

    :param hours: hours in which it must usually be active.
    """
    if len(hours) < thresholds.MIN_STOPPED_HOURS or not counts[begins - 1] or any(counts[begins : hours[-1] + 1]):
        return False
    weeks = known_weeks(counts, begins // DAY)
    active = [weeks_active(counts, hour, begins // DAY, weeks) for hour in hours]
    return weeks >= thresholds.MIN_SILENCE_WEEKS and min(active) >= thresholds.STEADY_SHARE * weeks
