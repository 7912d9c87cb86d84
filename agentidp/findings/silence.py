"""``silence``: an active agent has stopped, or the organization, or part of it, is quiet in the middle of its work.

Statistics: the evidence of what an agent has missed (:mod:`agentidp.findings.quiet_agent`), and the Poisson deviance of
the active agents of a sample (:mod:`agentidp.findings.quiet_organization`).

1. What the organization's quiet hours do not show is unknown, not zero. They count for no agent that is judged by
   hours, and a day counts for none if at least half of its busy hours lie within a quiet time that is reported.
2. Agents that stopped together, with part of the organization, are not reported one by one.
3. A quiet time that has ended and contains a whole day without a token is a ``zero_day`` alone.
4. In a marked holiday nothing is silent, but what does not come back after it is.
5. If another agent was first active when one stopped, it has probably taken over: that is listed, and no warning.

Example: at 10:00 all 12 agents stop, and at 16:00 eleven are back. That is one finding of the organization, from 10:00
to 16:00. The twelfth is a finding of its own once it has missed enough from 16:00 on.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, NamedTuple

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, instant
from agentidp.findings.quiet_agent import Silence, silence_of_agent
from agentidp.findings.quiet_organization import (
    QuietTime,
    busy_hours,
    partial_silences,
    quiet_times,
    runs_of_quiet_hours,
)
from agentidp.findings.silence_histories import Agent, Histories, first_day_of, histories_of


class SilentAgent(NamedTuple):
    """An agent that has stopped, and since when."""

    agent: Agent
    silence: Silence


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


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each time in which the organization, or part of it, was quiet, and for each agent that stopped alone."""
    histories = histories_of(rows, query)
    quiet = quiet_times(histories.active, histories.known_from, histories.holidays)
    whole = [one for one in quiet if one.ends > histories.looked_at]
    parts = _quiet_parts(histories, whole)
    silent = _silent_agents(histories, quiet)
    return [
        *(_of_organization(one, histories, query) for one in whole if not _is_zero_day(one, histories)),
        *(_of_part(one, histories, query) for one in parts),
        *(_of_agent(one, silent, histories, query) for one in silent if not _stopped_with_others(one, parts)),
    ]


def _quiet_parts(histories: Histories, whole: list[QuietTime]) -> list[QuietTime]:
    """The times in which part of the organization was quiet, but not all of it, and not because of a holiday."""
    sample = [one.counts for one in histories.sample]
    return [
        one
        for one in partial_silences(sample, histories.looked_at)
        if not _is_of_holiday(one, histories) and not _any_overlaps(one, whole)
    ]


def _silent_agents(histories: Histories, quiet: list[QuietTime]) -> list[SilentAgent]:
    """The agents that have stopped. Holidays and quiet times of the organization count for none: as hours for one that
    works around the clock, as days for any other.
    """
    busy = busy_hours(histories.active, histories.known_from)
    unknown_hours = histories.holidays.union(*runs_of_quiet_hours(histories.active, busy))
    unknown_days = histories.free_days | _quiet_days(quiet, busy)
    return [
        SilentAgent(agent, silence)
        for agent in histories.agents
        if (silence := silence_of_agent(agent.counts, unknown_hours, unknown_days))
    ]


def _quiet_days(quiet: list[QuietTime], busy: Collection[int]) -> set[int]:
    """The days of which at least half of the busy hours lie within quiet times."""
    quiet_hours = {hour for one in quiet for hour in range(one.begins, one.ends)}
    days = set()
    for day in {hour // DAY for hour in quiet_hours}:
        of_day = [hour for hour in range(day * DAY, (day + 1) * DAY) if hour in busy]
        if 2 * sum(1 for hour in of_day if hour in quiet_hours) >= len(of_day):
            days.add(day)
    return days


def _is_zero_day(one: QuietTime, histories: Histories) -> bool:
    """Whether it has ended and contains a whole day, no holiday, on which no agent of the sample was active."""
    first_whole_day = (one.begins + DAY - 1) // DAY
    days = set(range(first_whole_day, one.ends // DAY)) - histories.free_days
    return not one.lasts and any(not any(histories.active[day * DAY : (day + 1) * DAY]) for day in days)


def _is_of_holiday(one: QuietTime, histories: Histories) -> bool:
    """Whether a quiet time began within a holiday and has hardly gone on after it: the last hour still runs."""
    hours = range(one.begins, min(one.ends, histories.length - 1))
    after = [hour for hour in hours if hour not in histories.holidays]
    return one.begins in histories.holidays and len(after) < thresholds.MIN_STOPPED_HOURS


def _any_overlaps(one: QuietTime, others: list[QuietTime]) -> bool:
    return any(one.begins < other.ends and other.begins < one.ends for other in others)


def _stopped_with_others(one: SilentAgent, parts: list[QuietTime]) -> bool:
    return any(abs(one.silence.since - part.begins) <= 1 for part in parts)


def _of_organization(one: QuietTime, histories: Histories, query: FindingsQuery) -> Finding:
    return _of_quiet_time(
        one,
        _stopped(one, histories.sample) if one.observed else [],
        histories,
        query,
        baseline=f"the median of the same hours of the week in up to {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"Hardly any agent {'has been' if one.lasts else 'was'} active {_when(one, histories)}:"
        f" {_percent(one):.0f} % of those that usually are.",
        causes="Either the service or everything that uses it was down, or the way between them. That nothing was"
        " counted does not say which: unknown is not zero.",
        next_step="Check whether the service and its database responded, then what the agents have in common: their"
        " network, their platform, a deployment.",
    )


def _of_part(one: QuietTime, histories: Histories, query: FindingsQuery) -> Finding:
    stopped = [histories.sample[place] for place in one.stopped]
    # A full sample is of a larger organization, in which more may have stopped.
    at_least = "at least " if len(histories.sample) >= thresholds.MAX_SAMPLED_AGENTS else ""
    return _of_quiet_time(
        one,
        stopped,
        histories,
        query,
        baseline="the agents that were active in the hour before",
        is_of_part=True,
        summary=f"{stopped[0].name} and {at_least}{len(stopped) - 1:,} other agents stopped in the same hour and"
        f" {'have been' if one.lasts else 'were'} quiet {_when(one, histories)}.",
        causes="They have a common cause: their network, their platform, a deployment.",
        next_step="Check what these agents have in common, and what was changed when they stopped.",
    )


def _of_quiet_time(
    one: QuietTime, stopped: list[Agent], histories: Histories, query: FindingsQuery, **words: Any
) -> Finding:
    return Finding(
        kind="silence",
        severity=Severity.critical,
        begins=instant(histories.first_day, one.begins),
        ends=query.at if one.lasts else instant(histories.first_day, one.ends),
        unit="percent of the agents that are usually active",
        observed=_percent(one),
        expected=100,
        agents=_contributors(stopped, one),
        agent_count=len(stopped),
        **words,
    )


def _percent(one: QuietTime) -> float:
    return 100 * one.observed / one.expected


def _stopped(one: QuietTime, sample: list[Agent]) -> list[Agent]:
    """Those of the sample that were active in the day before a quiet time and not in it, the busiest first."""
    before = slice(max(one.stops - DAY, 0), one.stops)
    stopped = [agent for agent in sample if any(agent.counts[before]) and not any(agent.counts[one.begins : one.ends])]
    return sorted(stopped, key=lambda agent: (-sum(agent.counts[before]), str(agent.agent_id)))


def _contributors(stopped: list[Agent], one: QuietTime) -> tuple[Contributor, ...]:
    return tuple(
        Contributor(agent_id=agent.agent_id, agent_name=agent.name, count=sum(agent.counts[one.begins : one.ends]))
        for agent in stopped[: thresholds.MAX_CONTRIBUTORS]
    )


def _of_agent(one: SilentAgent, silent: list[SilentAgent], histories: Histories, query: FindingsQuery) -> Finding:
    agent, found = one
    begins, ends = instant(histories.first_day, found.since), query.at
    silent_ids = {other.agent.agent_id for other in silent}
    others_were_active = any(
        any(other.counts[found.since :]) for other in histories.agents if other.agent_id not in silent_ids
    )
    baseline = "the same hours of the week" if found.unit == "hours" else "its working days"
    successor = successor_of(found.since, histories)
    return Finding(
        kind="silence",
        severity=Severity.info if successor else Severity.warning,
        agent_id=agent.agent_id,
        agent_name=agent.name,
        begins=begins,
        ends=ends,
        unit=f"{found.unit} with activity",
        observed=0,
        expected=found.expected,
        baseline=f"{baseline} in up to {thresholds.SILENCE_WEEKS} weeks before",
        summary=f"{agent.name} has made no request for {_long(ends - begins)}, since {instant_in_words(begins)};"
        f" typically it is active {'in' if found.unit == 'hours' else 'on'} {found.expected:.0f} {found.unit} of that"
        " time.",
        causes=f"{successor} began at that time: it has probably taken over."
        if successor
        else "It was stopped or has crashed, cannot reach the service any more, or its credential has expired."
        + (" Others were active meanwhile." if others_were_active else ""),
        next_step="Check whether it runs and what it logs, and its rejected requests; suspend or delete it if it has"
        " been retired.",
    )


def successor_of(stopped: int, histories: Histories) -> str | None:
    """The name of an agent that was first active about when another one stopped, if there is one."""
    for agent in histories.agents:
        first = next((hour for hour, count in enumerate(agent.counts) if count), None)
        # What was active in the first days of the history may have been so before.
        if first is not None and first >= 7 * DAY and stopped - 2 <= first <= stopped + thresholds.SUCCESSOR_HOURS:
            return agent.name
    return None


def _when(one: QuietTime, histories: Histories) -> str:
    begins, ends = (instant_in_words(instant(histories.first_day, hour)) for hour in (one.begins, one.ends))
    return f"since {begins}" if one.lasts else f"from {begins} to {ends}"


def _long(length: timedelta) -> str:
    hours = int(length / timedelta(hours=1))
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
