"""``silence``: an agent used to be active and has stopped, or the organization, or part of it, is quiet amid work.

Statistics: the evidence of what an agent has missed (:mod:`agentidp.findings.quiet_agent`), and the Poisson deviance of
the active agents of a sample (:mod:`agentidp.findings.quiet_organization`).

1. What the organization's quiet hours do not show is unknown, not zero. They count for no agent that is judged by
   hours, and a day counts for none if at least half of its busy hours lie within a quiet time that is reported.
2. Agents that stopped together, with part of the organization, are not reported one by one.
3. A quiet time that has ended and contains a whole day without a token is a ``zero_day`` alone.
4. In a marked holiday nothing is silent, but what does not come back after it is.

Example: at 10:00 all 12 agents stop, and at 16:00 eleven are back. That is one finding of the organization, from 10:00
to 16:00. The twelfth is a finding of its own once it has missed enough from 16:00 on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, hourly, hours_until, instant
from agentidp.findings.quiet_agent import Silence, silence_of_agent
from agentidp.findings.quiet_organization import (
    QuietTime,
    busy_hours,
    partial_silences,
    quiet_times,
    runs_of_quiet_hours,
)

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Agent:
    """An agent and its requests by the hour."""

    agent_id: UUID
    name: str
    is_sampled: bool
    counts: list[int]


def call(query: FindingsQuery) -> Call:
    """The histories of agents that may have stopped, and of a sample."""
    return Call(
        "findings/silence",
        {
            "first_day": _first_day(query),
            "until": query.until,
            "recent_since": query.today - timedelta(weeks=thresholds.MAX_SILENCE_WEEKS),
            "hour": query.at.hour,
            "quiet_hours": thresholds.MIN_QUIET_HOURS,
            "quiet_days": thresholds.MIN_QUIET_DAYS,
            "round_the_clock": thresholds.ROUND_THE_CLOCK_HOURS,
            "max_sampled": thresholds.MAX_SAMPLED_AGENTS,
            "max_agents": thresholds.MAX_SILENT_AGENTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each time in which the organization, or part of it, was quiet, and for each agent that stopped alone."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    agents = [Agent(row.agent_id, row.agent_name, row.is_sampled, hourly(row.history, length)) for row in rows]
    sample = [one.counts for one in agents if one.is_sampled]
    active = [sum(1 for counts in sample if counts[hour]) for hour in range(length)]
    # Findings are of the hours from looked_at on. What a silent agent has missed may lie before, so the organization is
    # judged from known_from on.
    looked_at = (query.since - first_day).days * DAY
    known_from = min(looked_at, length - (7 * thresholds.MAX_SILENCE_WEEKS + 1) * DAY)
    busy = busy_hours(active, known_from)
    holidays = _hours_of_holidays(length, first_day, query)
    quiet = quiet_times(active, known_from, holidays)
    free_days = {day for day in range(length // DAY) if holidays.issuperset(range(day * DAY, (day + 1) * DAY))}
    # What counts for no agent: hours for one that works around the clock, days for any other.
    unknown_hours = holidays.union(*runs_of_quiet_hours(active, busy))
    unknown_days = free_days | _quiet_days(quiet, busy)

    whole = [one for one in quiet if one.ends > looked_at]
    partial = [one for one in partial_silences(sample, looked_at) if not _is_of_holiday(one, holidays, length)]
    parts = [one for one in partial if not _any_overlaps(one, whole)]
    silent = [(one, found) for one in agents if (found := silence_of_agent(one.counts, unknown_hours, unknown_days))]
    stopped_alone = [(one, found) for one, found in silent if not _stopped_with_others(found, parts)]
    silent_ids = {one.agent_id for one, _ in silent}
    working = [one for one in agents if one.agent_id not in silent_ids]
    return [
        *(_of_organization(one, agents, first_day, query) for one in whole if not _is_zero_day(one, active, free_days)),
        *(_of_part(one, agents, first_day, query) for one in parts),
        *(_of_agent(one, found, first_day, query, _any_active(working, found.since)) for one, found in stopped_alone),
    ]


def _first_day(query: FindingsQuery) -> date:
    weeks = thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * weeks)


def _hours_of_holidays(length: int, first_day: date, query: FindingsQuery) -> set[int]:
    """The hours that lie within a holiday."""
    begins = instant(first_day, 0)
    hours: set[int] = set()
    for first, last in query.holidays:
        places = range(max(-((begins - first) // HOUR), 0), min((last - begins) // HOUR, length))
        hours.update(places)
    return hours


def _quiet_days(quiet: list[QuietTime], busy: Collection[int]) -> set[int]:
    """The days of which at least half of the busy hours lie within quiet times."""
    quiet_hours = {hour for one in quiet for hour in range(one.begins, one.ends)}
    days = set()
    for day in {hour // DAY for hour in quiet_hours}:
        of_day = [hour for hour in range(day * DAY, (day + 1) * DAY) if hour in busy]
        if 2 * sum(1 for hour in of_day if hour in quiet_hours) >= len(of_day):
            days.add(day)
    return days


def _is_zero_day(one: QuietTime, active: list[int], free_days: set[int]) -> bool:
    """Whether it has ended and contains a whole day, no holiday, on which no agent of the sample was active."""
    first_whole_day = (one.begins + DAY - 1) // DAY
    days = set(range(first_whole_day, one.ends // DAY)) - free_days
    return not one.lasts and any(not any(active[day * DAY : (day + 1) * DAY]) for day in days)


def _is_of_holiday(one: QuietTime, holidays: set[int], length: int) -> bool:
    """Whether a quiet time began within a holiday and has hardly gone on after it: the last hour still runs."""
    after = [hour for hour in range(one.begins, min(one.ends, length - 1)) if hour not in holidays]
    return one.begins in holidays and len(after) < thresholds.MIN_STOPPED_HOURS


def _any_overlaps(one: QuietTime, others: list[QuietTime]) -> bool:
    return any(one.begins < other.ends and other.begins < one.ends for other in others)


def _stopped_with_others(found: Silence, parts: list[QuietTime]) -> bool:
    return any(abs(found.since - one.begins) <= 1 for one in parts)


def _any_active(agents: list[Agent], since: int) -> bool:
    return any(any(one.counts[since:]) for one in agents)


def _of_organization(one: QuietTime, agents: list[Agent], first_day: date, query: FindingsQuery) -> Finding:
    stopped = _stopped(one, agents) if one.observed else []
    percent = 100 * one.observed / one.expected
    begins, ends, when = _window(one, first_day, query)
    return Finding(
        kind="silence",
        severity=Severity.critical,
        begins=begins,
        ends=ends,
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        baseline=f"the median of the same hours of the week in up to {thresholds.SILENCE_WEEKS} weeks before",
        agents=_contributors(stopped, one),
        agent_count=len(stopped),
        summary=f"Hardly any agent {'has been' if one.lasts else 'was'} active {when}: {percent:.0f} % of those that"
        " usually are.",
        causes="Either the service or everything that uses it was down, or the way between them. That nothing was"
        " counted does not say which: unknown is not zero.",
        next_step="Check whether the service and its database responded, then what the agents have in common: their"
        " network, their platform, a deployment.",
    )


def _of_part(one: QuietTime, agents: list[Agent], first_day: date, query: FindingsQuery) -> Finding:
    sample = [agent for agent in agents if agent.is_sampled]
    stopped = [sample[place] for place in one.stopped]
    # A full sample is of a larger organization, in which more may have stopped.
    at_least = "at least " if len(sample) >= thresholds.MAX_SAMPLED_AGENTS else ""
    percent = 100 * one.observed / one.expected
    begins, ends, when = _window(one, first_day, query)
    return Finding(
        kind="silence",
        severity=Severity.critical,
        begins=begins,
        ends=ends,
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        baseline="the agents that were active in the hour before",
        agents=_contributors(stopped, one),
        agent_count=len(stopped),
        is_of_part=True,
        summary=f"{stopped[0].name} and {at_least}{len(stopped) - 1:,} other agents stopped in the same hour and"
        f" {'have been' if one.lasts else 'were'} quiet {when}.",
        causes="They have a common cause: their network, their platform, a deployment.",
        next_step="Check what these agents have in common, and what was changed when they stopped.",
    )


def _stopped(one: QuietTime, agents: list[Agent]) -> list[Agent]:
    """Those of the sample that were active in the day before a quiet time and not in it, the busiest first."""
    before = slice(max(one.stops - DAY, 0), one.stops)
    stopped = [
        agent
        for agent in agents
        if agent.is_sampled and any(agent.counts[before]) and not any(agent.counts[one.begins : one.ends])
    ]
    return sorted(stopped, key=lambda agent: (-sum(agent.counts[before]), str(agent.agent_id)))


def _contributors(stopped: list[Agent], one: QuietTime) -> tuple[Contributor, ...]:
    return tuple(
        Contributor(agent_id=agent.agent_id, agent_name=agent.name, count=sum(agent.counts[one.begins : one.ends]))
        for agent in stopped[: thresholds.MAX_CONTRIBUTORS]
    )


def _of_agent(agent: Agent, found: Silence, first_day: date, query: FindingsQuery, others_were_active: bool) -> Finding:
    begins, ends = instant(first_day, found.since), query.at
    baseline = "the same hours of the week" if found.unit == "hours" else "its working days"
    return Finding(
        kind="silence",
        severity=Severity.warning,
        agent_id=agent.agent_id,
        agent_name=agent.name,
        begins=begins,
        ends=ends,
        unit=f"{found.unit} with activity",
        observed=0,
        expected=found.expected,
        baseline=f"{baseline} in up to {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request since {_instant(begins)}, {_long(ends - begins)}; typically it would"
        f" have been {found.expected:.0f} {found.unit} with activity.",
        causes="It was stopped or has crashed, cannot reach the service any more, or its credential has expired."
        + (" Others were active meanwhile." if others_were_active else ""),
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def _window(one: QuietTime, first_day: date, query: FindingsQuery) -> tuple[datetime, datetime, str]:
    begins = instant(first_day, one.begins)
    ends = query.at if one.lasts else instant(first_day, one.ends)
    return begins, ends, f"since {_instant(begins)}" if one.lasts else f"from {_instant(begins)} to {_instant(ends)}"


def _instant(at: datetime) -> str:
    return f"{at:%H:%M} UTC on {at:%A}, {at.day} {at:%B %Y}"


def _long(length: timedelta) -> str:
    hours = int(length / timedelta(hours=1))
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
