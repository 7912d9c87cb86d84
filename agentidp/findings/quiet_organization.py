"""Was the organization, or part of it, quiet? Arithmetic on how many agents of a sample were active in each hour.

Statistic: Poisson's deviance of the number of active agents from the usual one, which is the median of the same hour of
the week in 8 weeks. Half of it says how many times less likely the number is than the usual one, as a logarithm.

1. A busy hour is one in which two or more agents are usually active. It is quiet if fewer than half of them are.
2. The organization is quiet in a run of quiet hours whose half deviances add up to 8, which chance does not explain.
   The run must begin or end in the middle of work: a holiday that nobody marked has a night's rest before and after it.
3. Part of it is quiet if four agents or more, and a quarter of those at work, stop in the same hour, in the middle of
   their work.

Example: 8 agents are usually active at this hour. If none is, half the deviance is 8, and one such hour is enough. If 3
are, it is 8 - 3 + 3 ln(3/8) = 2.06, and it takes four such hours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import log

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, WEEK
from agentidp.findings.quiet_agent import is_amid_work, known_weeks


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
    """Half of the Poisson deviance of a count from a mean: 0 if they are equal, *usual* if nothing was seen."""
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

    A time lasts if its last hour is the last busy one, and the agents are not back. No hour of a marked holiday counts,
    but what stopped within it is an outage if it stays quiet after it.

    :param holidays: the hours of those that were marked.
    """
    found = []
    busy = busy_hours(active, since)
    for run in runs_of_quiet_hours(active, busy):
        # The whole run says when the agents stopped and came back; only its hours outside holidays are evidence.
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
    """The times from *since* on in which part of the organization was quiet.

    :param sample: the requests by the hour of each agent.
    """
    found: list[QuietTime] = []
    length = min(map(len, sample), default=0)
    weeks = [known_weeks(counts, length // DAY) for counts in sample]
    hour = max(since, 1)
    while hour < length - thresholds.MIN_STOPPED_HOURS:
        stopped = tuple(place for place, counts in enumerate(sample) if stops(counts, hour, weeks[place]))
        at_work_before = sum(1 for counts in sample if counts[hour - 1])
        if len(stopped) >= max(thresholds.MIN_STOPPED_AGENTS, thresholds.MIN_STOPPED_SHARE * at_work_before):
            found.append(_partial_silence(sample, hour, stopped, at_work_before))
            hour = found[-1].ends
        else:
            hour += 1
    return found


def _partial_silence(
    sample: Sequence[Sequence[int]], begins: int, stopped: tuple[int, ...], at_work_before: int
) -> QuietTime:
    """The time until half of the agents that stopped are back; the last hour of the sample still runs."""
    now = len(sample[0]) - 1
    ends = begins
    while ends < now and 2 * sum(1 for place in stopped if sample[place][ends]) < len(stopped):
        ends += 1
    expected = (ends - begins) * at_work_before
    observed = sum(1 for counts in sample for count in counts[begins:ends] if count)
    lasts = ends >= now
    return QuietTime(begins, begins, now + 1 if lasts else ends, lasts, expected, observed, stopped)


def stops(counts: Sequence[int], hour: int, weeks: int) -> bool:
    """Whether an agent was active before an hour, and not in those from it on in which it nearly always is."""
    if not counts[hour - 1] or any(counts[hour : hour + thresholds.MIN_STOPPED_HOURS]):
        return False
    return weeks >= thresholds.MIN_SILENCE_WEEKS and is_amid_work(counts, hour, hour // DAY, weeks)
