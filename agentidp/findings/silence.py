"""``silence``: an active agent has stopped, or the organization, or part of it, is quiet in the middle of its work.

Statistics: the evidence of the hours or days that an agent has missed (:mod:`agentidp.findings.quiet_agent`), and the
Poisson deviance of the number of active agents in a sample (:mod:`agentidp.findings.quiet_organization`).

1. For an agent that is judged by hours, the quiet hours of the organization and marked holidays are no evidence. For an
   agent that is judged by days, days with a holiday or with a reported quiet time of the organization are no evidence.
2. Agents that stopped together with part of the organization have no findings of their own.
3. No silence is reported in a marked holiday. An agent that does not come back after the holiday is silent.
4. An agent's silence is a warning for a week, and is then only listed. It is also only listed if another agent began
   when the agent stopped, and has probably taken over.

Example: all 12 agents stop at 10:00, and eleven are back at 16:00. That is one finding about the organization, from
10:00 to 16:00. The twelfth agent has its own finding once it has missed enough hours from 16:00 on.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_HOUR, instant_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, WEEK, expand_to_hours, hours_until, instant
from agentidp.findings.quiet_agent import Silence, find_silence
from agentidp.findings.quiet_organization import (
    QuietTime,
    find_busy_hours,
    find_group_stops,
    find_quiet_days,
    find_quiet_times,
    find_runs_of_quiet_hours,
)

COMMON_CAUSES_AND_NEXT_STEP = (
    "They have a common cause: their network, their platform, a deployment.",
    "Check what these agents have in common, and what was changed when they stopped.",
)
OUTAGE_CAUSES_AND_NEXT_STEP = (
    "Either the service or everything that uses it was down, or the way between them. The counts do not show which, "
    "because nothing is counted in either case.",
    "Check whether the service and its database responded, then what the agents have in common: their network, their "
    "platform, a deployment.",
)

HISTORY = thresholds.SILENCE_WEEKS * WEEK  # hours of history before the first hour in which a silence may begin


class Agent(NamedTuple):
    """An agent and its requests by hour. The last hour is not over."""

    agent_id: UUID
    name: str
    counts: list[int]


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the requests of agents that may have stopped, and of a sample of agents."""
    return Call(
        "findings/silence",
        {
            "first_day": _first_history_day(query),
            "until": query.until,
            "recent_since": query.today - timedelta(weeks=thresholds.MAX_SILENCE_WEEKS),
            "hour": query.at.hour,
            "quiet_hours": thresholds.MIN_QUIET_HOURS,
            "quiet_days": thresholds.MIN_QUIET_DAYS,
            "round_the_clock": thresholds.MIN_ACTIVE_HOURS,
            "max_sampled": thresholds.MAX_SAMPLED_AGENTS,
            "max_agents": thresholds.MAX_SILENT_AGENTS,
        },
    )


def _first_history_day(query: FindingsQuery) -> date:
    day_count = max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=day_count)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per quiet period of the organization or part of it, and per agent that stopped alone."""
    hour_count = hours_until(query.at, _first_history_day(query))
    agents = [Agent(row.agent_id, row.agent_name, expand_to_hours(row.history, hour_count)) for row in rows]
    sampled_agents = [agent for agent, row in zip(agents, rows, strict=True) if row.is_sampled]
    active_agents_by_hour = [sum(1 for agent in sampled_agents if agent.counts[hour]) for hour in range(hour_count)]
    usual_agents_by_hour = find_busy_hours(active_agents_by_hour, HISTORY)
    holidays = _list_holiday_hours(query, hour_count)
    first_reported_hour = (query.since - _first_history_day(query)).days * DAY
    quiet_times = find_quiet_times(active_agents_by_hour, usual_agents_by_hour, holidays)
    group_stops = [
        quiet_time
        for quiet_time in find_group_stops([agent.counts for agent in sampled_agents], HISTORY, holidays)
        if quiet_time.ends > first_reported_hour and not any(map(quiet_time.overlaps, quiet_times))
    ]
    agent_findings = _make_agent_findings(
        agents,
        query,
        group_stops,
        unknown_hours=holidays.union(*find_runs_of_quiet_hours(active_agents_by_hour, usual_agents_by_hour)),
        unknown_days={
            hour // DAY
            for hour in holidays.union(*(range(quiet_time.begins, quiet_time.ends) for quiet_time in quiet_times))
        },
    )
    quiet_days = _find_quiet_days(sampled_agents, usual_agents_by_hour, holidays, has_silent_agent=bool(agent_findings))
    return [
        _make_quiet_time_finding(quiet_time, sampled_agents, query)
        for quiet_time in (*quiet_times, *group_stops, *quiet_days)
        if quiet_time.ends > first_reported_hour
    ] + agent_findings


def _list_holiday_hours(query: FindingsQuery, hour_count: int) -> set[int]:
    """Return the hours of the history that lie within a marked holiday."""
    first_day = _first_history_day(query)
    hour_bounds = pairwise(instant(first_day, hour) for hour in range(hour_count + 1))
    return {hour for hour, (begins_at, ends_at) in enumerate(hour_bounds) if query.is_holiday(begins_at, ends_at)}


def _make_agent_findings(
    agents: list[Agent],
    query: FindingsQuery,
    group_stops: list[QuietTime],
    unknown_hours: set[int],
    unknown_days: set[int],
) -> list[Finding]:
    """Return a finding per silent agent, except agents that stopped at about the same time as a group."""
    return [
        _make_agent_finding(agent, silence, agents, query)
        for agent in agents
        if (silence := find_silence(agent.counts, unknown_hours, unknown_days))
        and not any(abs(silence.since - group_stop.begins) <= 1 for group_stop in group_stops)
    ]


def _find_quiet_days(
    sampled_agents: list[Agent], busy_hours: dict[int, int], holidays: set[int], *, has_silent_agent: bool
) -> list[QuietTime]:
    """Return the quiet periods of whole days. An ongoing period is left out if a silent agent explains it."""
    requests_by_hour = list(map(sum, zip(*(agent.counts for agent in sampled_agents), strict=True)))
    quiet_days = find_quiet_days(requests_by_hour, busy_hours, HISTORY // DAY, holidays)
    return [quiet_day for quiet_day in quiet_days if not (has_silent_agent and quiet_day.ends == len(requests_by_hour))]


def _make_quiet_time_finding(quiet_time: QuietTime, sampled_agents: list[Agent], query: FindingsQuery) -> Finding:
    begins_at, ends_at = (instant(_first_history_day(query), hour) for hour in (quiet_time.begins, quiet_time.ends))
    baseline = (
        f"the median of the same {'weekday' if quiet_time.may_be_holiday else 'hours of the week'} in up to "
        f"{thresholds.SILENCE_WEEKS} weeks before"
    )
    causes, next_step = OUTAGE_CAUSES_AND_NEXT_STEP
    agents = []
    if quiet_time.stopped:
        agents = [sampled_agents[agent_index] for agent_index in quiet_time.stopped]
        baseline = "the agents that were active in the hour before"
        causes, next_step = COMMON_CAUSES_AND_NEXT_STEP
    elif quiet_time.observed or quiet_time.may_be_holiday:
        agents = _find_absent_agents(quiet_time, sampled_agents)
    return Finding(
        kind="silence",
        severity=Severity.warning if quiet_time.may_be_holiday else Severity.critical,
        begins=begins_at,
        ends=min(ends_at, query.at),
        unit="percent of the agents that are usually active",
        observed=quiet_time.active_percent,
        expected=100,
        baseline=baseline,
        agents=tuple(
            Contributor(
                agent_id=agent_id,
                agent_name=agent_name,
                count=sum(requests_by_hour[quiet_time.begins : quiet_time.ends]),
            )
            for agent_id, agent_name, requests_by_hour in agents[: thresholds.MAX_CONTRIBUTORS]
        ),
        agent_count=len(agents),
        summary=_summarize_quiet_time(quiet_time, sampled_agents, begins_at, None if ends_at > query.at else ends_at),
        causes=causes,
        next_step=next_step,
    )


def _summarize_quiet_time(
    quiet_time: QuietTime, sampled_agents: list[Agent], begins_at: datetime, ended_at: datetime | None
) -> str:
    period_words = f"since {instant_in_words(begins_at)}"
    if ended_at is not None:
        period_words = f"from {instant_in_words(begins_at)} to {instant_in_words(ended_at)}"
    if quiet_time.stopped:
        # If the sample is full, agents that are not in the sample may also have stopped.
        minimum_phrase = "at least " if len(sampled_agents) >= thresholds.MAX_SAMPLED_AGENTS else ""
        return (
            f"{sampled_agents[quiet_time.stopped[0]].name} and {minimum_phrase}{len(quiet_time.stopped) - 1:,} other "
            f"agents stopped in the same hour and {'were' if ended_at else 'have been'} quiet {period_words}."
        )
    activity_words = f"{'was' if ended_at else 'has been'} active {period_words}"
    if quiet_time.observed:
        return f"Hardly any agent {activity_words}: {quiet_time.active_percent:.0f} % of those that usually are."
    return f"No agent {activity_words}."


def _find_absent_agents(quiet_time: QuietTime, sampled_agents: list[Agent]) -> list[Agent]:
    """Return the agents idle in a quiet time, but active in the same hours of the week before, the busiest first."""
    quiet_hours = slice(quiet_time.begins, quiet_time.ends)
    hours_week_before = slice(quiet_time.begins - WEEK, quiet_time.ends - WEEK)
    absent_agents = [
        agent for agent in sampled_agents if any(agent.counts[hours_week_before]) and not any(agent.counts[quiet_hours])
    ]
    return sorted(absent_agents, key=lambda agent: (-sum(agent.counts[hours_week_before]), str(agent.agent_id)))


def _make_agent_finding(agent: Agent, silence: Silence, agents: list[Agent], query: FindingsQuery) -> Finding:
    begins_at = instant(_first_history_day(query), silence.since)
    hours = (query.at - begins_at) // ONE_HOUR
    is_silence_recent = len(agent.counts) - 1 - silence.since <= thresholds.SILENCE_NEWS_DAYS * DAY
    successor = find_successor(silence.since, agents)
    is_counted_in_hours = silence.unit == "hours"
    return Finding(
        kind="silence",
        severity=Severity.warning if is_silence_recent and not successor else Severity.info,
        agent_id=agent.agent_id,
        agent_name=agent.name,
        begins=begins_at,
        ends=query.at,
        unit=f"{silence.unit} with activity",
        observed=0,
        expected=silence.expected,
        baseline=f"{'the same hours of the week' if is_counted_in_hours else 'its working days'} in up to"
        f" {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request for {f'{hours} hours' if hours < 48 else f'{hours // 24} days'},"
        f" since {instant_in_words(begins_at)}; typically it is active {'in' if is_counted_in_hours else 'on'}"
        f" {silence.expected:.0f} {silence.unit} of that time.",
        causes=f"{successor} began at that time: it has probably taken over."
        if successor
        else "It was stopped or has crashed, cannot reach the service any more, or its credential has expired.",
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def find_successor(stop_hour: int, agents: list[Agent]) -> str | None:
    """Return the name of an agent first active at about the hour in which another agent stopped, or ``None``."""
    for agent in agents:
        first_active_hour = next((hour for hour, request_count in enumerate(agent.counts) if request_count), 0)
        if stop_hour - 2 <= first_active_hour <= stop_hour + thresholds.SUCCESSOR_HOURS:
            return agent.name
    return None


KIND = Kind(build_call, compute_findings, has_marked_cause=True, counted="requests")
