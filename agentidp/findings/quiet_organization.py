"""When an organization, or part of it, was quiet: arithmetic on the active agents of a sample in each hour.

Statistic: the Poisson deviance of the number of active agents from the usual one, the median of the same hour of
the week in 8 weeks. Half of it is the logarithm of how many times as likely the number would be if it were the mean.

1. A busy hour is one in which two or more agents are usually active. It is quiet if fewer than half of them are.
2. The organization is quiet in a run of quiet hours that is unlikely, and begins or ends amid work: a holiday that
   nobody marked comes and goes with the rest before and after it.
3. Part of it is quiet if several agents stop in the same hour, amid their work, and stay quiet.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import log

from agentidp.findings import thresholds
from agentidp.findings.habit import is_amid_work, known_weeks
from agentidp.findings.history import DAY, WEEK


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


def median_low(values: Sequence[int]) -> int:
    """The lower of the middle ones."""
    return sorted(values)[(len(values) - 1) // 2]


def half_deviance(seen: int, usual: int) -> float:
    """Half of the Poisson deviance of a count from a mean."""
    return usual - seen + (seen * log(seen / usual) if seen else 0.0)


def usual_agents(active: Sequence[int], hour: int, first: int) -> int | None:
    """How many agents are usually active in an hour; ``None`` if too few weeks are known."""
    past = [active[before] for before in range(hour - WEEK, -1, -WEEK)[: thresholds.SILENCE_WEEKS] if before >= first]
    return median_low(past) if len(past) >= thresholds.MIN_SILENCE_WEEKS else None


def busy_hours(active: Sequence[int], since: int) -> dict[int, int]:
    """Each hour from *since* on in which a few agents are usually active, and how many.

    :param active: how many agents were active in each hour; the last one still runs.
    """
    first = next((hour for hour, number in enumerate(active) if number), len(active))
    usual = {hour: usual_agents(active, hour, first) for hour in range(since, len(active) - 1)}
    return {hour: number for hour, number in usual.items() if number and number >= thresholds.MIN_USUAL_AGENTS}


def runs_of_quiet_hours(active: Sequence[int], busy: dict[int, int]) -> list[list[int]]:
    """The busy hours in which fewer than half of the usual agents are active, in runs without another busy hour."""
    groups: list[list[int]] = [[]]
    for hour, usual in busy.items():
        if 2 * active[hour] < usual:
            groups[-1].append(hour)
        elif groups[-1]:
            groups.append([])
    return [group for group in groups if group]


def quiet_times(active: Sequence[int], since: int, holidays: Collection[int]) -> list[QuietTime]:
    """The times from *since* on in which most of the organization was quiet.

    Of a marked holiday no hour counts, but what stopped within it is an outage if it stays quiet after it. A time lasts
    if its last hour is the last busy one, and the agents are not back.

    :param holidays: the hours of those that were marked.
    """
    found = []
    busy = busy_hours(active, since)
    for run in runs_of_quiet_hours(active, busy):
        # The run, with its holidays, says when the agents stopped and came back. Evidence is only what is counted.
        counted = [hour for hour in run if hour not in holidays]
        if not counted:
            continue
        first, last = run[0], run[-1]
        # Within two hours, because an agent may stop or start an hour late.
        began_amid_work = at_work(active[max(first - 2, 0) : first], busy[first])
        ended_amid_work = at_work(active[last + 1 : last + 3], busy[last])
        if is_unlikely(counted, active, busy) and (began_amid_work or ended_amid_work):
            lasts = last == max(busy) and not ended_amid_work
            ends = len(active) if lasts else counted[-1] + 1
            expected, observed = (sum(numbers[hour] for hour in counted) for numbers in (busy, active))
            found.append(QuietTime(first, counted[0], ends, lasts, expected, observed))
    return found


def is_unlikely(hours: Sequence[int], active: Sequence[int], busy: dict[int, int]) -> bool:
    """Whether the sum of these hours' half deviances is too high for chance."""
    evidence = sum(half_deviance(active[hour], busy[hour]) for hour in hours)
    return evidence >= thresholds.MIN_EVIDENCE_ORGANIZATION


def at_work(active: Sequence[int], usual: int) -> bool:
    """Whether two thirds of the usual agents are active in one of some hours."""
    return any(3 * number >= 2 * usual for number in active)


def partial_silences(sample: Sequence[Sequence[int]], since: int) -> list[QuietTime]:
    """The times from *since* on in which part of the organization was quiet, until half of those that stopped are back.

    :param sample: the requests by the hour of each agent.
    """
    found: list[QuietTime] = []
    length = min(map(len, sample), default=0)
    weeks = [known_weeks(counts, length // DAY) for counts in sample]
    for hour in range(max(since, 1), length - thresholds.MIN_STOPPED_HOURS):
        if found and hour < found[-1].ends:
            continue
        stopped = tuple(place for place, counts in enumerate(sample) if stops(counts, hour, weeks[place]))
        before = sum(1 for counts in sample if counts[hour - 1])
        if len(stopped) < max(thresholds.MIN_STOPPED_AGENTS, thresholds.MIN_STOPPED_SHARE * before):
            continue
        ends = hour
        while ends < length - 1 and 2 * sum(1 for place in stopped if sample[place][ends]) < len(stopped):
            ends += 1
        expected = (ends - hour) * before
        observed = sum(1 for counts in sample for count in counts[hour:ends] if count)
        lasts = ends >= length - 1
        found.append(QuietTime(hour, hour, length if lasts else ends, lasts, expected, observed, stopped))
    return found


def stops(counts: Sequence[int], hour: int, weeks: int) -> bool:
    """Whether an agent was active before an hour, and not in those from it on in which it nearly always is."""
    if not counts[hour - 1] or any(counts[hour : hour + thresholds.MIN_STOPPED_HOURS]):
        return False
    return weeks >= thresholds.MIN_SILENCE_WEEKS and is_amid_work(counts, hour, hour // DAY, weeks)
