"""``spike``: an agent, or the organization, is issued far more tokens than usual.

Statistics: the return period of an hour's surprise, or the z-score of a day's (:mod:`agentidp.findings.surprise`).
Each of several agents has its chance to be unusual, so more is needed of each. The organization is judged by its hours
alone: a day on which several agents do a little more is not unusual.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, first_active_day, hourly, hours_until, instant, runs
from agentidp.findings.surprise import UnusualHour, new_agents_hours, unusual_hours

HISTORY_DAYS = 7 * thresholds.SEASON_WEEKS + thresholds.CALIBRATION_DAYS
"""Before the days looked at."""

BASELINE = (
    f"the median of the same hour of the week in the {thresholds.SEASON_WEEKS} weeks before, averaged with the hours "
    "beside it; of an agent that is newer, its busiest hour before"
)


@dataclass(frozen=True)
class Spike:
    """Unusual hours of one agent, or of the organization, with at most a day from one to the next."""

    agent_id: UUID | None
    agent_name: str | None
    hours: tuple[UnusualHour, ...]
    severity: Severity

    @property
    def begins(self) -> int:
        """Its first hour."""
        return self.hours[0].hour

    @property
    def excess(self) -> float:
        """Tokens beyond the expected ones."""
        return sum(one.count - one.expected for one in self.hours)


def call(query: FindingsQuery) -> Call:
    """The histories of the organization and of the agents that grew the most."""
    return Call(
        "findings/spike",
        {
            "first_day": _first_day(query),
            "since": query.since,
            "until": query.until,
            "max_suspects": thresholds.MAX_SPIKE_SUSPECTS,
            "max_agents": thresholds.MAX_SPIKE_AGENTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each run of hours of an agent; for several from the same hour on, and for the rest, the
    organization's."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    since = (query.since - first_day).days * DAY
    histories = {row.agent_id: (row.agent_name, hourly(row.history, length)) for row in rows}
    if None not in histories:
        return []
    _, of_organization = histories.pop(None)
    number = max((row.agents for row in rows), default=0)
    of_agents = [
        spike
        for agent_id, (name, counts) in histories.items()
        for spike in spikes(counts, since, first_day, agents=number, agent_id=agent_id, agent_name=name)
    ]
    of_new = new_agents(histories.values(), since)
    rest = unexplained(spikes(of_organization, since, first_day, agents=number), of_agents, of_new)
    found = [one for one in [*of_agents, *rest] if one.hours[-1].hour >= since]
    return [_finding(one, histories, first_day, query) for one in found]


def without_month_ends(hours: list[UnusualHour], counts: list[int], first_day: date) -> list[UnusualHour]:
    """Without those in the last and the first three days of a month that an earlier month had as well."""

    def is_month_end(hour: int) -> bool:
        day = first_day + timedelta(days=hour // DAY)
        return (day + timedelta(days=thresholds.MONTH_END_DAYS)).day <= 2 * thresholds.MONTH_END_DAYS

    def precedent(hour: int) -> int:
        earlier = (before for before in range(hour - 21 * DAY, 0, -DAY) if is_month_end(before))
        return max((max(counts[before - 1 : before + 2]) for before in earlier), default=0)

    return [
        one for one in hours if not (is_month_end(one.hour) and one.count <= thresholds.MIN_TIMES * precedent(one.hour))
    ]


def spikes(
    counts: list[int],
    since: int,
    first_day: date,
    *,
    agents: int,
    agent_id: UUID | None = None,
    agent_name: str | None = None,
) -> list[Spike]:
    """The spikes of one list of counts; of what ended before *since*, those in the weeks before it.

    :param agents: how many lists are judged beside this one.
    """
    first = first_active_day(counts)
    if first is None:
        return []
    hours = without_month_ends(
        unusual_hours(counts, first, since, chances=max(1, agents), by_day=agent_id is not None), counts, first_day
    )
    if agent_id is not None:
        hours = new_agents_hours(counts, first) + hours
    reported = {one.hour: one for one in hours}
    found = []
    for run in runs(sorted(reported), DAY):
        of_run = tuple(reported[hour] for hour in run)
        found.append(Spike(agent_id, agent_name, of_run, max(one.severity for one in of_run)))
    return found


def new_agents(histories: Any, since: int) -> dict[int, int]:
    """Of each hour: the tokens of agents without a baseline, up to a healthy number each."""
    tokens: dict[int, int] = {}
    for _, counts in histories:
        first = first_active_day(counts)
        if first is None:
            continue
        for hour in range(max(since, first), min(len(counts), first + thresholds.SETTLED_DAYS * DAY)):
            tokens[hour] = tokens.get(hour, 0) + min(counts[hour], thresholds.MIN_NEW)
    return tokens


def unexplained(of_organization: list[Spike], of_agents: list[Spike], of_new: dict[int, int]) -> list[Spike]:
    """The organization's spikes without the hours of which its agents' spikes, or new agents, are half the excess."""
    explained = dict(of_new)
    for spike in of_agents:
        for one in spike.hours:
            explained[one.hour] = explained.get(one.hour, 0) + int(one.count - one.expected)
    found = []
    for spike in of_organization:
        hours = tuple(one for one in spike.hours if 2 * explained.get(one.hour, 0) < one.count - one.expected)
        if hours:
            found.append(Spike(None, None, hours, spike.severity))
    return found


def contributors(
    spike: Spike, histories: dict[UUID, tuple[str, list[int]]], week: int = 7 * DAY
) -> tuple[Contributor, ...]:
    """The agents whose tokens in the organization's hours grew the most against the week before."""
    grown = []
    for agent_id, (name, counts) in histories.items():
        now = sum(counts[one.hour] for one in spike.hours)
        more = now - sum(counts[one.hour - week] for one in spike.hours if one.hour >= week)
        if more > 0:
            grown.append((-more, str(agent_id), Contributor(agent_id=agent_id, agent_name=name, count=now)))
    return tuple(one for *_, one in sorted(grown, key=lambda each: each[:2])[: thresholds.MAX_CONTRIBUTORS])


def _first_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=HISTORY_DAYS)


def _finding(
    spike: Spike, histories: dict[UUID, tuple[str, list[int]]], first_day: date, query: FindingsQuery
) -> Finding:
    tokens, expected = sum(one.count for one in spike.hours), sum(one.expected for one in spike.hours)
    number = len(spike.hours)
    return Finding(
        kind="spike",
        severity=spike.severity,
        agent_id=spike.agent_id,
        agent_name=spike.agent_name,
        begins=instant(first_day, spike.begins),
        ends=min(instant(first_day, spike.hours[-1].hour + 1), query.at),
        unit="tokens",
        observed=tokens,
        expected=expected,
        excess=spike.excess,
        baseline=BASELINE,
        agents=() if spike.agent_id else contributors(spike, histories),
        summary=f"{spike.agent_name or 'The organization'} was issued {tokens:,} tokens in "
        f"{f'{number} hours' if number > 1 else 'an hour'}; typically it is {expected:,.0f}.",
        **_advice(spike),
    )


def _advice(spike: Spike) -> Any:
    if spike.agent_id is None:
        return {
            "causes": "Several agents together ask for more tokens than usual, or new ones do.",
            "next_step": "Check whether these agents were changed or restarted together, and whether they keep their "
            "tokens.",
        }
    if spike.severity is Severity.critical:
        return {
            "causes": "It is probably in a retry loop: it asks for a token again and again without a pause.",
            "next_step": "Check its log for what fails after it has a token; revoke its credential if it is not the "
            "one that asks.",
        }
    return {
        "causes": "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its credential.",
        "next_step": "Check whether its own work explains the tokens; if not, rotate its secret.",
    }
