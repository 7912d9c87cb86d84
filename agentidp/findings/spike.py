"""``spike``: an agent, or the organization, is issued far more tokens than usual.

Statistic: the surprise of an hour, of eight hours or of three nights, compared with the agent's earlier days. Read
:mod:`agentidp.findings.surprise` first.

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
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, instant_in_words
from agentidp.findings.finding import Contributor, Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, WEEK, first_active_day, hourly, hours_until, instant, runs
from agentidp.findings.surprise import DAYS_BEFORE, UnusualHour, newcomers_hours, unusual_hours

HISTORY_DAYS = 7 * thresholds.SEASON_WEEKS + DAYS_BEFORE
"""Before the days looked at."""

BASELINE = (
    f"the median of the same hour of the week, and of the hours beside it, in the {thresholds.SEASON_WEEKS} weeks "
    "before; for a newer agent, its busiest hour before"
)


# By whose spike it is, and whether it is critical: its causes, and what to do.
OF_ORGANIZATION = (
    "Several agents together ask for more tokens than usual, or new ones do.",
    "Check whether these agents were changed or restarted together, and whether they keep their tokens.",
)
CRITICAL = (
    "It is probably in a retry loop: it asks for a token again and again without a pause.",
    "Check its log for what fails after it has a token. If the requests are not its own, revoke its credential.",
)
OF_AGENT = (
    "It has more to do than usual, or no longer keeps its tokens, or somebody else uses its credential.",
    "Check whether its own work explains the tokens; if not, rotate its secret.",
)


@dataclass(frozen=True)
class Spike:
    """Unusual hours of one agent, or of the organization (``None``), with at most a day from one to the next."""

    agent_id: UUID | None
    hours: list[UnusualHour]

    @property
    def severity(self) -> Severity:
        """That of its most urgent hour."""
        return max(one.severity for one in self.hours)

    @property
    def begins(self) -> int:
        """Its first hour."""
        return self.hours[0].hour


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
    found = spikes_of_all(histories, of_organization, since)
    return [_finding(one, names, histories, first_day, query) for one in found if one.hours[-1].hour >= since]


def spikes_of_all(histories: Mapping[UUID, list[int]], of_organization: list[int], since: int) -> list[Spike]:
    """The spikes of the agents, and those of the organization that they do not explain: also some that ended before
    *since*, so that a running one keeps its beginning.

    :param histories: the tokens by the hour of the agents that grew the most.
    """
    found: list[Spike] = []
    explained: Counter[int] = Counter()
    for agent_id, counts in histories.items():
        first = first_active_day(counts)
        if first is not None:
            hours = newcomers_hours(counts, first) + unusual_hours(counts, first, since)
            found += _spikes(agent_id, hours)
            # What a new agent does, unusual or not, is no spike of the organization.
            settled = first + thresholds.SETTLED_DAYS * DAY
            explained.update(dict(enumerate(counts[first:settled], first)))
            explained.update({one.hour: int(one.count - one.expected) for one in hours if one.hour >= settled})
    first = first_active_day(of_organization) or 0
    hours = unusual_hours(of_organization, first, since, by_night=False)
    share = thresholds.EXPLAINED_SHARE
    return found + _spikes(None, [one for one in hours if explained[one.hour] < share * (one.count - one.expected)])


def _spikes(agent_id: UUID | None, hours: list[UnusualHour]) -> list[Spike]:
    by_hour = {one.hour: one for one in hours}
    groups = runs(sorted(by_hour), thresholds.MAX_SPIKE_GAP_HOURS)
    return [Spike(agent_id, [by_hour[hour] for hour in group]) for group in groups]


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
    tokens, expected, when, more = _decided(spike, first_day)
    name = names[spike.agent_id] if spike.agent_id else "The organization"
    if spike.agent_id is None:
        causes, next_step = OF_ORGANIZATION
    else:
        causes, next_step = CRITICAL if spike.severity is Severity.critical else OF_AGENT
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
        excess=sum(one.count - one.expected for one in spike.hours),
        baseline=BASELINE,
        agents=() if spike.agent_id else contributors(spike, names, histories),
        summary=f"{name} was issued {tokens:,} tokens in {when}; typically it is {expected:,.0f}.{more}",
        causes=causes,
        next_step=next_step,
    )


def _decided(spike: Spike, first_day: date) -> tuple[int, float, str, str]:
    """The tokens and the expected ones of what decided, when that was, and what more is to be said.

    Of the hours that are as urgent as the spike it is the first that was unusual by itself; then all hours count. If
    none was, it is the sum that made the first one unusual.
    """
    as_urgent = [one for one in spike.hours if one.severity is spike.severity]
    decided = min(as_urgent, key=lambda one: one.reason.hours if one.reason else 1)
    tokens, expected = sum(one.count for one in spike.hours), sum(one.expected for one in spike.hours)
    when, more = f"{len(spike.hours)} hours" if len(spike.hours) > 1 else "an hour", ""
    if decided.reason:
        hours, of_reason, expected_of_reason, days, before = decided.reason
        if hours > 1:
            tokens, expected = of_reason, expected_of_reason
            when = f"the {hours} hours up to {instant_in_words(instant(first_day, decided.hour + 1))}"
            when += f" and the same hours of the {days - 1} days before" if days > 1 else ""
        elif len(spike.hours) > 1:
            begins = instant_in_words(instant(first_day, decided.hour))
            more = f" In the hour from {begins} it was issued {of_reason:,}; typically it is {expected_of_reason:,}."
        if before is not None:
            day = day_in_words(instant(first_day, before).date())
            more += f" It is only listed, because {day} was as unusual."
    if spike.hours[-1].hour - spike.begins > (thresholds.NEW_LEVEL_DAYS - 1) * DAY:
        more += f" After {thresholds.NEW_LEVEL_DAYS} days it is a new level, with which later hours are compared."
    return tokens, expected, when, more


KIND = Kind(
    call=call,
    findings=findings,
    absorbs=("dominance",),
    max_gap=timedelta(days=1),
    has_marked_cause=True,
    is_about_tokens=True,
    names_contributors=True,
    cause_rank=2,
)
