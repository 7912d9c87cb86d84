"""``silence``: an active agent has stopped, or the organization, or part of it, is quiet in the middle of its work.

Statistics: the evidence of the hours or days that an agent has missed (:mod:`agentidp.findings.quiet_agent`), and the
Poisson deviance of the number of active agents in a sample (:mod:`agentidp.findings.quiet_organization`).

1. The quiet hours of the organization and marked holidays are no evidence against an agent that is judged by hours.
   Days with a holiday, or with a reported quiet time of the organization, are no evidence against any other agent.
2. Agents that stopped together with part of the organization have no findings of their own.
3. Nothing is silent in a marked holiday. An agent that does not come back after it is.
4. An agent's silence is a warning for a week, and is then only listed. It is also only listed if another agent began
   when the agent stopped, and has probably taken over.

Example: all 12 agents stop at 10:00, and eleven are back at 16:00. That is one finding about the organization, from
10:00 to 16:00. The twelfth agent has its own finding once it has missed enough hours from 16:00 on.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, NamedTuple
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
HISTORY = thresholds.SILENCE_WEEKS * WEEK
"""Hours of history before the first hour in which a silence may begin."""


class Agent(NamedTuple):
    """An agent and its requests by the hour. The last hour is not over."""

    agent_id: UUID
    name: str
    counts: list[int]


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the histories of agents that may have stopped, and of a sample of agents."""
    return Call(
        "findings/silence",
        {
            "first_day": first_day_of(query),
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


def first_day_of(query: FindingsQuery) -> date:
    """Return the first day of the histories."""
    weeks = thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * weeks)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding for each quiet time of the organization or part of it, and for each agent that stopped alone."""
    first_day = first_day_of(query)
    length = hours_until(query.at, first_day)
    agents = [Agent(row.agent_id, row.agent_name, hourly(row.history, length)) for row in rows]
    sample = [agent for agent, row in zip(agents, rows, strict=True) if row.is_sampled]
    active = [sum(1 for agent in sample if agent.counts[hour]) for hour in range(length)]
    instants = [instant(first_day, hour) for hour in range(length + 1)]
    holidays = {hour for hour in range(length) if query.is_holiday(instants[hour], instants[hour + 1])}

    # A finding ends in the days that are asked for. The hours that a silent agent has missed may lie before them.
    since = (query.since - first_day).days * DAY
    busy = busy_hours(active, HISTORY)
    quiet = quiet_times(active, busy, holidays)
    whole = [time for time in quiet if time.ends > since]
    parts = [
        time
        for time in partial_silences([agent.counts for agent in sample], HISTORY, holidays)
        if time.ends > since and not any(time.begins < other.ends and other.begins < time.ends for other in quiet)
    ]

    unknown_hours = holidays.union(*runs_of_quiet_hours(active, busy))
    unknown_days = {hour // DAY for hour in holidays.union(*(range(time.begins, time.ends) for time in quiet))}
    silent = []
    for agent in agents:
        silence = silence_of_agent(agent.counts, unknown_hours, unknown_days)
        if silence and not any(abs(silence.since - part.begins) <= 1 for part in parts):
            is_news = length - 1 - silence.since <= thresholds.SILENCE_NEWS_DAYS * DAY
            successor = successor_of(silence.since, agents)
            silent.append(_of_agent(agent, silence, is_news, successor, first_day, query))
    # While an agent is silent, its own finding says so.
    requests = [sum(agent.counts[hour] for agent in sample) for hour in range(length)]
    days = [
        day
        for day in quiet_days(requests, busy, HISTORY // DAY, holidays)
        if day.ends > since and not (silent and day.ends == length)
    ]
    return [*(_of_quiet_time(time, sample, first_day, query) for time in (*whole, *parts, *days)), *silent]


def _of_quiet_time(time: QuietTime, sample: list[Agent], first_day: date, query: FindingsQuery) -> Finding:
    begins, ends = instant(first_day, time.begins), instant(first_day, time.ends)
    lasts = ends > query.at
    when = f"from {instant_in_words(begins)} to {instant_in_words(ends)}"
    if lasts:
        when = f"since {instant_in_words(begins)}"
    percent = 100 * time.observed / time.expected
    if time.stopped:
        stopped = [sample[place] for place in time.stopped]
        # A full sample is part of a larger organization, in which more agents may have stopped.
        at_least = "at least " if len(sample) >= thresholds.MAX_SAMPLED_AGENTS else ""
        words: dict[str, Any] = {
            "baseline": "the agents that were active in the hour before",
            "summary": f"{stopped[0].name} and {at_least}{len(stopped) - 1:,} other agents stopped in the same hour and"
            f" {'have been' if lasts else 'were'} quiet {when}.",
            "causes": "They have a common cause: their network, their platform, a deployment.",
            "next_step": "Check what these agents have in common, and what was changed when they stopped.",
        }
    else:
        stopped = _absent(time, sample) if time.observed or time.may_be_holiday else []
        was = "has been" if lasts else "was"
        words = {
            "baseline": f"the median of the same {'weekday' if time.may_be_holiday else 'hours of the week'} in up to "
            f"{thresholds.SILENCE_WEEKS} weeks before",
            "summary": f"Hardly any agent {was} active {when}: {percent:.0f} % of those that usually are."
            if time.observed
            else f"No agent {was} active {when}.",
            "causes": "Either the service or everything that uses it was down, or the way between them. That nothing"
            " was counted does not say which: unknown is not zero.",
            "next_step": "Check whether the service and its database responded, then what the agents have in common:"
            " their network, their platform, a deployment.",
        }
    return Finding(
        kind="silence",
        severity=Severity.warning if time.may_be_holiday else Severity.critical,
        begins=begins,
        ends=min(ends, query.at),
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        agents=tuple(
            Contributor(
                agent_id=agent.agent_id, agent_name=agent.name, count=sum(agent.counts[time.begins : time.ends])
            )
            for agent in stopped[: thresholds.MAX_CONTRIBUTORS]
        ),
        agent_count=len(stopped),
        **words,
    )


def _absent(time: QuietTime, sample: list[Agent]) -> list[Agent]:
    """Return the agents that were active in these hours a week before and not in the quiet time, the busiest first."""
    during, week_before = slice(time.begins, time.ends), slice(time.begins - WEEK, time.ends - WEEK)
    absent = [agent for agent in sample if any(agent.counts[week_before]) and not any(agent.counts[during])]
    return sorted(absent, key=lambda agent: (-sum(agent.counts[week_before]), str(agent.agent_id)))


def _of_agent(
    agent: Agent, silence: Silence, is_news: bool, successor: str | None, first_day: date, query: FindingsQuery
) -> Finding:
    begins = instant(first_day, silence.since)
    hours = (query.at - begins) // HOUR
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
        baseline=f"{'the same hours of the week' if silence.unit == 'hours' else 'its working days'} in up to"
        f" {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request for {f'{hours} hours' if hours < 48 else f'{hours // 24} days'},"
        f" since {instant_in_words(begins)}; typically it is active {'in' if silence.unit == 'hours' else 'on'}"
        f" {silence.expected:.0f} {silence.unit} of that time.",
        causes=f"{successor} began at that time: it has probably taken over."
        if successor
        else "It was stopped or has crashed, cannot reach the service any more, or its credential has expired.",
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def successor_of(stopped: int, agents: list[Agent]) -> str | None:
    """Return the name of an agent that was first active about when another agent stopped, if there is one."""
    for agent in agents:
        first = next((hour for hour, count in enumerate(agent.counts) if count), 0)
        if stopped - 2 <= first <= stopped + thresholds.SUCCESSOR_HOURS:
            return agent.name
    return None


KIND = Kind(call=call, findings=findings, has_marked_cause=True, counted="requests")
