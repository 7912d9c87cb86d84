"""``silence``: an active agent has stopped, or the organization, or part of it, is quiet in the middle of its work.

Statistics: the evidence of what an agent has missed (:mod:`agentidp.findings.quiet_agent`), and the Poisson deviance of
the active agents of a sample (:mod:`agentidp.findings.quiet_organization`).

1. What the organization's quiet hours and marked holidays do not show is unknown, not zero. Such hours count for no
   agent that is judged by hours. Nor does a day for any other on which there was a holiday or a reported quiet time.
2. Agents that stopped together, with part of the organization, are not reported one by one.
3. In a marked holiday nothing is silent, but what does not come back after it is.
4. An agent's silence is a warning for a week, and only listed after it. If another agent was first active when one
   stopped, it has probably taken over: that is only listed, too.

Example: at 10:00 all 12 agents stop, and at 16:00 eleven are back. That is one finding of the organization, from 10:00
to 16:00. The twelfth is a finding of its own once it has missed enough from 16:00 on.
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
"""Hours from the first one that is read up to the first in which an agent's silence, or a finding, may begin."""


class Agent(NamedTuple):
    """An agent and its requests by the hour; the last hour still runs."""

    agent_id: UUID
    name: str
    counts: list[int]


def call(query: FindingsQuery) -> Call:
    """The histories of agents that may have stopped, and of a sample."""
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
    """The day from which on histories are read."""
    weeks = thresholds.SILENCE_WEEKS
    return query.today - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 7 * weeks)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each time in which the organization, or part of it, was quiet, and for each agent that stopped alone."""
    first_day = first_day_of(query)
    length = hours_until(query.at, first_day)
    agents = [Agent(row.agent_id, row.agent_name, hourly(row.history, length)) for row in rows]
    sample = [agent for agent, row in zip(agents, rows, strict=True) if row.is_sampled]
    active = [sum(1 for agent in sample if agent.counts[hour]) for hour in range(length)]
    instants = [instant(first_day, hour) for hour in range(length + 1)]
    holidays = {hour for hour in range(length) if query.is_holiday(instants[hour], instants[hour + 1])}

    # Findings are of the days that are asked for; what a silent agent has missed may lie before.
    looked_at = (query.since - first_day).days * DAY
    busy = busy_hours(active, HISTORY)
    quiet = quiet_times(active, busy, holidays)
    whole = [one for one in quiet if one.ends > looked_at]
    parts = [
        one
        for one in partial_silences([agent.counts for agent in sample], HISTORY, holidays)
        if one.ends > looked_at and not any(one.begins < other.ends and other.begins < one.ends for other in quiet)
    ]

    unknown_hours = holidays.union(*runs_of_quiet_hours(active, busy))
    unknown_days = {hour // DAY for hour in holidays.union(*(range(one.begins, one.ends) for one in quiet))}
    silent = []
    for agent in agents:
        found = silence_of_agent(agent.counts, unknown_hours, unknown_days)
        if found and not any(abs(found.since - part.begins) <= 1 for part in parts):
            is_news = length - 1 - found.since <= thresholds.SILENCE_NEWS_DAYS * DAY
            successor = successor_of(found.since, agents)
            silent.append(_of_agent(agent, found, is_news, successor, first_day, query))
    # While an agent is silent, its own finding says so.
    requests = [sum(agent.counts[hour] for agent in sample) for hour in range(length)]
    days = [
        day
        for day in quiet_days(requests, busy, HISTORY // DAY, holidays)
        if day.ends > looked_at and not (silent and day.ends == length)
    ]
    return [*(_of_quiet_time(one, sample, first_day, query) for one in (*whole, *parts, *days)), *silent]


def _of_quiet_time(one: QuietTime, sample: list[Agent], first_day: date, query: FindingsQuery) -> Finding:
    begins, ends = instant(first_day, one.begins), instant(first_day, one.ends)
    lasts = ends > query.at
    when = f"from {instant_in_words(begins)} to {instant_in_words(ends)}"
    if lasts:
        when = f"since {instant_in_words(begins)}"
    percent = 100 * one.observed / one.expected
    if one.stopped:
        stopped = [sample[place] for place in one.stopped]
        # A full sample is of a larger organization, in which more may have stopped.
        at_least = "at least " if len(sample) >= thresholds.MAX_SAMPLED_AGENTS else ""
        words: dict[str, Any] = {
            "baseline": "the agents that were active in the hour before",
            "summary": f"{stopped[0].name} and {at_least}{len(stopped) - 1:,} other agents stopped in the same hour and"
            f" {'have been' if lasts else 'were'} quiet {when}.",
            "causes": "They have a common cause: their network, their platform, a deployment.",
            "next_step": "Check what these agents have in common, and what was changed when they stopped.",
        }
    else:
        stopped = _absent(one, sample) if one.observed or one.may_be_holiday else []
        was = "has been" if lasts else "was"
        words = {
            "baseline": f"the median of the same {'weekday' if one.may_be_holiday else 'hours of the week'} in up to "
            f"{thresholds.SILENCE_WEEKS} weeks before",
            "summary": f"Hardly any agent {was} active {when}: {percent:.0f} % of those that usually are."
            if one.observed
            else f"No agent {was} active {when}.",
            "causes": "Either the service or everything that uses it was down, or the way between them. That nothing"
            " was counted does not say which: unknown is not zero.",
            "next_step": "Check whether the service and its database responded, then what the agents have in common:"
            " their network, their platform, a deployment.",
        }
    return Finding(
        kind="silence",
        severity=Severity.warning if one.may_be_holiday else Severity.critical,
        begins=begins,
        ends=min(ends, query.at),
        unit="percent of the agents that are usually active",
        observed=percent,
        expected=100,
        agents=tuple(
            Contributor(agent_id=agent.agent_id, agent_name=agent.name, count=sum(agent.counts[one.begins : one.ends]))
            for agent in stopped[: thresholds.MAX_CONTRIBUTORS]
        ),
        agent_count=len(stopped),
        **words,
    )


def _absent(one: QuietTime, sample: list[Agent]) -> list[Agent]:
    """Those of the sample that were active in the same hours of the week before, and not in a quiet time: the busiest
    first.
    """
    during, before = slice(one.begins, one.ends), slice(one.begins - WEEK, one.ends - WEEK)
    absent = [agent for agent in sample if any(agent.counts[before]) and not any(agent.counts[during])]
    return sorted(absent, key=lambda agent: (-sum(agent.counts[before]), str(agent.agent_id)))


def _of_agent(
    agent: Agent, found: Silence, is_news: bool, successor: str | None, first_day: date, query: FindingsQuery
) -> Finding:
    begins = instant(first_day, found.since)
    hours = (query.at - begins) // HOUR
    return Finding(
        kind="silence",
        severity=Severity.warning if is_news and not successor else Severity.info,
        agent_id=agent.agent_id,
        agent_name=agent.name,
        begins=begins,
        ends=query.at,
        unit=f"{found.unit} with activity",
        observed=0,
        expected=found.expected,
        baseline=f"{'the same hours of the week' if found.unit == 'hours' else 'its working days'} in up to"
        f" {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request for {f'{hours} hours' if hours < 48 else f'{hours // 24} days'},"
        f" since {instant_in_words(begins)}; typically it is active {'in' if found.unit == 'hours' else 'on'}"
        f" {found.expected:.0f} {found.unit} of that time.",
        causes=f"{successor} began at that time: it has probably taken over."
        if successor
        else "It was stopped or has crashed, cannot reach the service any more, or its credential has expired.",
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def successor_of(stopped: int, agents: list[Agent]) -> str | None:
    """The name of an agent that was first active about when another one stopped, if there is one."""
    for agent in agents:
        first = next((hour for hour, count in enumerate(agent.counts) if count), 0)
        if stopped - 2 <= first <= stopped + thresholds.SUCCESSOR_HOURS:
            return agent.name
    return None


KIND = Kind(call=call, findings=findings, has_marked_cause=True, counted="requests")
