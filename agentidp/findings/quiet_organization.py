"""Was the organization, or part of it, quiet? Arithmetic on how many agents of a sample were active in each hour.

Statistic: Poisson's deviance of the number of active agents from the usual one, which is the median of the same hour of
the week in 8 weeks. Half of it says how many times less likely the number is than the usual one, as a logarithm.

1. A busy hour is one in which two or more agents are usually active. It is quiet if fewer than half of them are.
2. The organization is quiet in a run of quiet hours whose half deviances add up to 8, which chance does not explain.
   The run must begin or end in the middle of work: a holiday that nobody marked has a night's rest before and after it.
3. An organization in which usually only one agent is active at a time has no busy hours. It is quiet on a whole day
   without a request, if the median of the same weekday is 20 requests or more.
4. Part of it is quiet if four agents or more, and a quarter of those at work, stop in the same hour, in the middle of
   their work.

Example: 8 agents are usually active at this hour. If none is, half the deviance is 8, and one such hour is enough. If 3
are, it is 8 - 3 + 3 ln(3/8) = 2.06, and it takes four such hours.
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

    If it lasts, it includes the hour that runs. ``expected`` and ``observed`` are active agents in all its hours
    together; ``stopped`` are the places in the sample of those that stopped, if it is part of the organization.
    ``may_be_holiday`` says that only whole days were compared, and a public holiday looks the same.
    """

    begins: int
    ends: int
    expected: int
    observed: int
    stopped: tuple[int, ...] = ()
    may_be_holiday: bool = False


def busy_hours(active: Sequence[int], since: int) -> dict[int, int]:
    """Each hour from *since* on in which a few agents are usually active, and how many.

    :param active: how many agents were active in each hour; the last one still runs.
    """
    first = next((hour for hour, number in enumerate(active) if number), len(active))
    busy = {}
    for hour in range(since, len(active) - 1):
        past = [active[one] for one in range(hour - WEEK, first - 1, -WEEK)[: thresholds.SILENCE_WEEKS]]
        if len(past) >= thresholds.MIN_SILENCE_WEEKS and median_low(past) >= thresholds.MIN_USUAL_AGENTS:
            busy[hour] = median_low(past)
    return busy


def runs_of_quiet_hours(active: Sequence[int], busy: dict[int, int]) -> list[list[int]]:
    """The busy hours in which fewer than half of the usual agents are active, in runs without another busy hour."""
    hours = list(busy)
    quiet = [place for place, hour in enumerate(hours) if 2 * active[hour] < busy[hour]]
    return [[hours[place] for place in run] for run in runs(quiet, 1)]


def quiet_times(active: Sequence[int], busy: dict[int, int], holidays: Collection[int]) -> list[QuietTime]:
    """The times in which most of the organization was quiet.

    A time lasts if its last hour is the last busy one, and the agents are not back. No hour of a marked holiday counts,
    but what stopped within it is an outage if it stays quiet after it.

    :param holidays: the hours of those that were marked.
    """
    found = []
    for run in runs_of_quiet_hours(active, busy):
        # The whole run says when the agents stopped and came back; only its hours outside holidays are evidence.
        counted = [hour for hour in run if hour not in holidays]
        first, last = run[0], run[-1]
        # Within two hours, because an agent may stop or start an hour late.
        began_amid_work = at_work(active[max(first - 2, 0) : first], busy[first])
        ended_amid_work = at_work(active[last + 1 : last + 3], busy[last])
        if counted and is_unlikely(counted, active, busy) and (began_amid_work or ended_amid_work):
            lasts = last == max(busy) and not ended_amid_work
            ends = len(active) if lasts else counted[-1] + 1
            expected, observed = (sum(numbers[hour] for hour in counted) for numbers in (busy, active))
            found.append(QuietTime(counted[0], ends, expected, observed))
    return found


def quiet_days(
    requests: Sequence[int], busy: Collection[int], since: int, holidays: Collection[int]
) -> list[QuietTime]:
    """Return the whole days without a request on which the hours say nothing, because none of them is busy.

    Such days are one quiet time if no request was made between them. It lasts if none was made after them.

    :param requests: the requests by the hour of the whole sample; the last hour still runs.
    :param busy: the busy hours, as :func:`busy_hours` returns them.
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
    """Whether the half deviances of some hours add up to more than chance explains."""
    evidence = 0.0
    for hour in hours:
        seen, usual = active[hour], busy[hour]
        evidence += usual - seen + (seen * log(seen / usual) if seen else 0.0)
    return evidence >= thresholds.MIN_EVIDENCE_ORGANIZATION


def at_work(active: Sequence[int], usual: int) -> bool:
    """Whether two thirds of the usual agents are active in one of some hours."""
    return any(3 * number >= 2 * usual for number in active)


def partial_silences(sample: Sequence[Sequence[int]], since: int, holidays: Collection[int]) -> list[QuietTime]:
    """The times from *since* on in which part of the organization was quiet, until half of those that stopped are back.

    :param sample: the requests by the hour of each agent; the last hour still runs.
    :param holidays: the hours of those that were marked: what stops within them has to stay quiet after them.
    """
    found: list[QuietTime] = []
    now = min(map(len, sample), default=0) - 1
    for begins in range(since, now):
        if found and begins < found[-1].ends:
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
            found.append(QuietTime(begins, now + 1 if ends == now else ends, expected, observed, stopped))
    return found


def stops(counts: Sequence[int], begins: int, hours: Sequence[int]) -> bool:
    """Whether an agent was active before an hour, and not from it on to the last of *hours*, its steady ones."""
    if len(hours) < thresholds.MIN_STOPPED_HOURS or not counts[begins - 1] or any(counts[begins : hours[-1] + 1]):
        return False
    weeks = known_weeks(counts, begins // DAY)
    active = [weeks_active(counts, hour, begins // DAY, weeks) for hour in hours]
    return weeks >= thresholds.MIN_SILENCE_WEEKS and min(active) >= thresholds.STEADY_SHARE * weeks
