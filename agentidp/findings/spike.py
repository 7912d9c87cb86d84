"""``spike``: an agent, or the organization, is issued far more tokens than usual.

Statistic: how many times what is usual the surprise of an hour, of eight hours or of three nights is
(:mod:`agentidp.findings.surprise`, which is to be read first).

1. Unusual hours of an agent, with at most a day from one to the next, are one spike. Its text names the hours that
   decided.
2. An agent in its first two weeks has fixed limits instead.
3. The organization is judged by its hours alone: a night in which several agents do a little more is not unusual.
4. It has a spike only in hours of which its agents' own spikes, and its new agents, do not explain half of the excess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, instant_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, hourly, hours_until, instant, runs
from agentidp.findings.surprise import UnusualHour, newcomers_hours, unusual_hours

HISTORY_DAYS = 7 * thresholds.SEASON_WEEKS + thresholds.CALIBRATION_DAYS
"""Before the days looked at."""

BASELINE = (
    f"the median of the same hour of the week in the {thresholds.SEASON_WEEKS} weeks before, averaged with the hours "
    "beside it if these are alike; of an agent that is newer, its busiest hour before"
)


@dataclass(frozen=True)
class Spike:
    """Unusual hours of one agent, or of the organization (``None``), with at most a day from one to the next."""

    agent_id: UUID | None
    hours: tuple[UnusualHour, ...]

    @property
    def severity(self) -> Severity:
        """That of its most urgent hour."""
        return max(one.severity for one in self.hours)

    @property
    def begins(self) -> int:
        """Its first hour."""
        return self.hours[0].hour

    @property
    def is_new_level(self) -> bool:
        """Whether it went on for so long that later hours are compared with it."""
        return self.hours[-1].hour - self.begins > (thresholds.LEVEL_DAYS - 1) * DAY

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
    """One for each spike that has an hour in the days asked for."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    since = (query.since - first_day).days * DAY
    names = {row.agent_id: row.agent_name for row in rows}
    histories = {row.agent_id: hourly(row.history, length) for row in rows}
    if None not in histories:
        return []
    of_organization = histories.pop(None)
    agents = max((row.agents for row in rows), default=0)
    found = spikes_of_all(histories, of_organization, since, first_day, agents=agents)
    return [_finding(one, names, histories, first_day, query) for one in found if one.hours[-1].hour >= since]


def spikes_of_all(
    histories: Mapping[UUID, list[int]], of_organization: list[int], since: int, first_day: date, *, agents: int
) -> list[Spike]:
    """The spikes of the agents, and those of the organization that they do not explain.

    :param histories: the tokens of each agent by the hour, from the midnight of *first_day* on.
    :param agents: how many agents there are, of which these grew the most.
    """
    # The organization's own tokens are one more.
    number_of_lists = agents + 1
    of_agents = [
        spike
        for agent_id, counts in histories.items()
        for spike in spikes(counts, since, first_day, number_of_lists=number_of_lists, agent_id=agent_id)
    ]
    explained: Counter[int] = Counter()
    for counts in histories.values():
        # What a new agent does is no spike of the organization.
        first = first_active_day(counts)
        if first is not None:
            ends = first + thresholds.SETTLED_DAYS * DAY
            explained.update(dict(enumerate(counts[first:ends], first)))
    for spike in of_agents:
        for one in spike.hours:
            explained[one.hour] += int(one.count - one.expected)
    of_all = spikes(of_organization, since, first_day, number_of_lists=number_of_lists)
    return of_agents + unexplained(of_all, explained)


def spikes(
    counts: list[int], since: int, first_day: date, *, number_of_lists: int, agent_id: UUID | None = None
) -> list[Spike]:
    """The spikes of one list of counts: also some that ended before *since*, so that a running one keeps its beginning.

    :param number_of_lists: how many lists of counts are judged, this one included.
    :param agent_id: whose they are; ``None`` for the organization's.
    """
    first = first_active_day(counts)
    if first is None:
        return []
    is_agent = agent_id is not None
    hours = unusual_hours(counts, first, since, number_of_lists=number_of_lists, by_day=is_agent)
    if is_agent:
        hours = newcomers_hours(counts, first) + hours
    by_hour = {one.hour: one for one in hours}
    groups = runs(sorted(by_hour), thresholds.MAX_SPIKE_GAP_HOURS)
    return [Spike(agent_id, tuple(by_hour[hour] for hour in group)) for group in groups]


def unexplained(of_organization: list[Spike], explained: Mapping[int, int]) -> list[Spike]:
    """The organization's spikes without the hours of whose excess its agents explain half.

    :param explained: of each hour, the tokens that they explain.
    """
    found = []
    for spike in of_organization:
        hours = tuple(
            one
            for one in spike.hours
            if explained.get(one.hour, 0) < thresholds.EXPLAINED_SHARE * (one.count - one.expected)
        )
        if hours:
            found.append(Spike(None, hours))
    return found


def contributors(
    spike: Spike, names: Mapping[UUID | None, str], histories: Mapping[UUID, list[int]]
) -> tuple[Contributor, ...]:
    """The agents whose tokens in the organization's hours grew the most against the week before."""
    grown = []
    for agent_id, counts in histories.items():
        now = sum(counts[one.hour] for one in spike.hours)
        more = now - sum(counts[one.hour - WEEK] for one in spike.hours if one.hour >= WEEK)
        if more > 0:
            grown.append((-more, str(agent_id), Contributor(agent_id=agent_id, agent_name=names[agent_id], count=now)))
    return tuple(one for *_, one in sorted(grown, key=lambda each: each[:2])[: thresholds.MAX_CONTRIBUTORS])


def _first_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=HISTORY_DAYS)


def _finding(
    spike: Spike,
    names: Mapping[UUID | None, str],
    histories: Mapping[UUID, list[int]],
    first_day: date,
    query: FindingsQuery,
) -> Finding:
    tokens, expected = sum(one.count for one in spike.hours), sum(one.expected for one in spike.hours)
    name = names[spike.agent_id] if spike.agent_id else "The organization"
    duration = f"{len(spike.hours)} hours" if len(spike.hours) > 1 else "an hour"
    return Finding(
        kind="spike",
        severity=spike.severity,
        agent_id=spike.agent_id,
        agent_name=names[spike.agent_id] if spike.agent_id else None,
        begins=instant(first_day, spike.begins),
        ends=min(instant(first_day, spike.hours[-1].hour + 1), query.at),
        unit="tokens",
        observed=tokens,
        expected=expected,
        excess=spike.excess,
        baseline=BASELINE,
        agents=() if spike.agent_id else contributors(spike, names, histories),
        summary=f"{name} was issued {tokens:,} tokens in {duration}; typically it is {expected:,.0f}."
        + _reason(spike, first_day),
        **_advice(spike),
    )


def _reason(spike: Spike, first_day: date) -> str:
    """The rule that decided, of the first hour that was as urgent as the spike."""
    decided = next(one for one in spike.hours if one.severity is spike.severity)
    text = ""
    if decided.reason and decided.reason.hours > 1:
        hours, tokens, expected, days, _ = decided.reason
        ends = instant_in_words(instant(first_day, decided.hour + 1))
        before = f" and the same hours of the {days - 1} days before" if days > 1 else ""
        text = f" The {hours} hours up to {ends}{before} had {tokens:,} tokens of {expected:,}."
    elif decided.reason and len(spike.hours) > 1:
        begins = instant_in_words(instant(first_day, decided.hour))
        text = f" The hour from {begins} had {decided.count:,} tokens of {decided.expected:,.0f}."
    if decided.reason and decided.reason.before is not None:
        day = day_in_words(instant(first_day, decided.reason.before).date())
        text += f" It is only listed, because the like has happened before, on {day}."
    if spike.is_new_level:
        text += f" After {thresholds.LEVEL_DAYS} days it is a new level, with which later hours are compared."
    return text


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
