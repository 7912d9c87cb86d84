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

from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, WEEK, hourly, hours_until, instant
from agentidp.findings.quiet_agent import Silence, silence_of_agent
from agentidp.findings.quiet_organization import (
    QuietTime,
    busy_hours,
    partial_silences,
    quiet_days,
    quiet_times,
    runs_of_quiet_hours,
)

HOUR = timedelta(hours=1)
HISTORY = thresholds.SILENCE_WEEKS * WEEK  # hours of history before the first hour in which a silence may begin


class Agent(NamedTuple):
    """An agent and its requests by hour. The last hour is not over."""

    agent_id: UUID
    name: str
    counts: list[int]


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the requests of agents that may have stopped, and of a sample of agents."""
    return Call(
        "findings/silence",
        {
            "first_day": _first_day(query),
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


def _first_day(query: FindingsQuery) -> date:
    days = max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=days)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per quiet period of the organization or part of it, and per agent that stopped alone."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    agents = [Agent(row.agent_id, row.agent_name, hourly(row.history, length)) for row in rows]
    sample = [agent for agent, row in zip(agents, rows, strict=True) if row.is_sampled]
    active = [sum(1 for agent in sample if agent.counts[hour]) for hour in range(length)]
    instants = [instant(first_day, hour) for hour in range(length + 1)]
    holidays = {hour for hour in range(length) if query.is_holiday(instants[hour], instants[hour + 1])}

    # A finding must end within the requested days, but the quiet hours of an ongoing silence may begin earlier.
    since = (query.since - first_day).days * DAY
    busy = busy_hours(active, HISTORY)
    whole_times = quiet_times(active, busy, holidays)
    partial_times = [
        time
        for time in partial_silences([agent.counts for agent in sample], HISTORY, holidays)
        if time.ends > since and not any(time.begins < other.ends and other.begins < time.ends for other in whole_times)
    ]

    unknown_hours = holidays.union(*runs_of_quiet_hours(active, busy))
    unknown_days = {hour // DAY for hour in holidays.union(*(range(time.begins, time.ends) for time in whole_times))}
    agent_findings = [
        _agent_finding(agent, silence, agents, query)
        for agent in agents
        if (silence := silence_of_agent(agent.counts, unknown_hours, unknown_days))
        and not any(abs(silence.since - time.begins) <= 1 for time in partial_times)
    ]
    # Leaves out today's quiet day if there is already a finding about a silent agent.
    requests = [sum(agent.counts[hour] for agent in sample) for hour in range(length)]
    days = [
        day
        for day in quiet_days(requests, busy, HISTORY // DAY, holidays)
        if day.ends > since and not (agent_findings and day.ends == length)
    ]
    reported_times = [time for time in whole_times if time.ends > since]
    return [
        *(_quiet_time_finding(time, sample, query) for time in (*reported_times, *partial_times, *days)),
        *agent_findings,
    ]


def _quiet_time_finding(time: QuietTime, sample: list[Agent], query: FindingsQuery) -> Finding:
    begins, ends = (instant(_first_day(query), hour) for hour in (time.begins, time.ends))
    is_ongoing = ends > query.at
    period = f"since {instant_in_words(begins)}"
    if not is_ongoing:
        period = f"from {instant_in_words(begins)} to {instant_in_words(ends)}"
    percent = 100 * time.observed / time.expected
    if time.stopped:
        agents = [sample[index] for index in time.stopped]
        # A full sample leaves out other agents, which may also have stopped.
        at_least = "at least " if len(sample) >= thresholds.MAX_SAMPLED_AGENTS else ""
        baseline = "the agents that were active in the hour before"
        summary = (
            f"{agents[0].name} and {at_least}{len(agents) - 1:,} other agents stopped in the same hour and "
            f"{'have been' if is_ongoing else 'were'} quiet {period}."
        )
        causes = "They have a common cause: their network, their platform, a deployment."
        next_step = "Check what these agents have in common, and what was changed when they stopped."
    else:
        agents = _absent_agents(time, sample) if time.observed or time.may_be_holiday else []
        baseline = (
            f"the median of the same {'weekday' if time.may_be_holiday else 'hours of the week'} in up to "
            f"{thresholds.SILENCE_WEEKS} weeks before"
        )
        was = "has been" if is_ongoing else "was"
        summary = f"No agent {was} active {period}."
        if time.observed:
            summary = f"Hardly any agent {was} active {period}: {percent:.0f} % of those that usually are."
        causes = (
            "Either the service or everything that uses it was down, or the way between them. That nothing was counted "
            "does not say which: unknown is not zero."
        )
        next_step = (
            "Check whether the service and its database responded, then what the agents have in common: their network, "
            "their platform, a deployment."
        )
    return Finding(
        kind="silence",
        severity=Severity.warning if time.may_be_holiday else Severity.critical,
        begins=begins,
        ends=min(ends, query.at),
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        baseline=baseline,
        agents=tuple(
            Contributor(agent_id=agent_id, agent_name=name, count=sum(counts[time.begins : time.ends]))
            for agent_id, name, counts in agents[: thresholds.MAX_CONTRIBUTORS]
        ),
        agent_count=len(agents),
        summary=summary,
        causes=causes,
        next_step=next_step,
    )


def _absent_agents(time: QuietTime, sample: list[Agent]) -> list[Agent]:
    """Return the agents that were active in these hours a week before but not in the period, the busiest first."""
    during, week_before = slice(time.begins, time.ends), slice(time.begins - WEEK, time.ends - WEEK)
    absent = [agent for agent in sample if any(agent.counts[week_before]) and not any(agent.counts[during])]
    return sorted(absent, key=lambda agent: (-sum(agent.counts[week_before]), str(agent.agent_id)))


def _agent_finding(agent: Agent, silence: Silence, agents: list[Agent], query: FindingsQuery) -> Finding:
    begins = instant(_first_day(query), silence.since)
    hours = (query.at - begins) // HOUR
    is_news = len(agent.counts) - 1 - silence.since <= thresholds.SILENCE_NEWS_DAYS * DAY
    successor = successor_of(silence.since, agents)
    is_by_hours = silence.unit == "hours"
    return Finding(
        kind="silence",
        severity=Severity.warning if is_news and not successor else Severity.info,
        agent_id=agent.agent_id,
        agent_name=agent.name,
        begins=begins,
        ends=query.at,
        unit=f"{silence.unit} with activity",
        observed=0,
        expected=silence.expected,
        baseline=f"{'the same hours of the week' if is_by_hours else 'its working days'} in up to"
        f" {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request for {f'{hours} hours' if hours < 48 else f'{hours // 24} days'},"
        f" since {instant_in_words(begins)}; typically it is active {'in' if is_by_hours else 'on'}"
        f" {silence.expected:.0f} {silence.unit} of that time.",
        causes=f"{successor} began at that time: it has probably taken over."
        if successor
        else "It was stopped or has crashed, cannot reach the service any more, or its credential has expired.",
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def successor_of(stopped: int, agents: list[Agent]) -> str | None:
    """Return the name of an agent whose first activity was at about the hour in which another agent stopped."""
    for agent in agents:
        first = next((hour for hour, count in enumerate(agent.counts) if count), 0)
        if stopped - 2 <= first <= stopped + thresholds.SUCCESSOR_HOURS:
            return agent.name
    return None


KIND = Kind(call=call, findings=findings, has_marked_cause=True, counted="requests")
