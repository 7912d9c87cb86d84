"""``rejections``: an agent fails to authenticate far more often than it usually does; why, and from which networks.

Statistic: the day's rejected requests against three times the 75th percentile of the 28 days before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import number_of
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, daily, hourly, hours_until, instant, median, runs
from agentidp.usage import KEEP_NETWORKS


@dataclass(frozen=True)
class Rejections:
    """Days in a row with far more rejected requests than usual: hours ``begins`` to before ``ends``, the first and the
    last with many.

    ``rejected`` are those in it; ``usual`` the 75th percentile of a day; ``tokens`` those issued meanwhile, and
    ``expected_tokens`` those to be expected in the same hours.
    """

    begins: int
    ends: int
    rejected: int
    usual: float
    tokens: int
    expected_tokens: float


@dataclass(frozen=True)
class Source:
    """How many requests were rejected on a day, from where and why. ``day`` counts as ``begins`` does, in days."""

    day: int
    network: str
    reason: str
    rejections: int


def call(query: FindingsQuery) -> Call:
    """The histories of the agents with many rejected requests."""
    return Call(
        "findings/rejections",
        {
            "first_day": _first_day(query),
            "since": query.since,
            "until": query.until,
            "sources_since": max(query.since, query.until - timedelta(days=KEEP_NETWORKS)),
            "min_rejected": thresholds.MIN_REJECTED,
            "max_agents": thresholds.MAX_REJECTED_AGENTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each run of days of an agent."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    since = (query.since - first_day).days
    found = []
    for row in rows:
        sources = [Source(*source) for source in row.sources or ()]
        rejected = hourly(((day, of_day) for day, of_day, _ in row.history), length)
        tokens = hourly(((day, of_day) for day, _, of_day in row.history), length)
        active_days = {day for day, *_ in row.history}
        for one in rejections_of(rejected, tokens, active_days, since):
            found.append(_finding(one, row, first_day, query, origin(one, sources)))
    return found


def rejections_of(
    rejected: Sequence[int], tokens: Sequence[int], active_days: Collection[int], since: int
) -> list[Rejections]:
    """The runs of days with far more rejected requests than usual.

    :param active_days: those of which anything is counted; before the first of a baseline there were no quiet days.
    :param since: the first day looked at.
    """
    by_day = daily(rejected)
    # Of the days with far more than usual: what is usual on them.
    usual = {
        day: percentile
        for day in range(since, len(by_day))
        if (percentile := usual_if_exceeded(by_day, day, active_days)) is not None
    }
    return [_rejections_on(days, rejected, tokens, usual) for days in runs(list(usual), 1)]


def usual_if_exceeded(by_day: Sequence[int], day: int, active_days: Collection[int]) -> float | None:
    """The 75th percentile of the days before, if the day has far more rejected requests; else ``None``."""
    begins = max(day - thresholds.REJECTION_DAYS, 0)
    first = next((before for before in range(begins, day) if before in active_days), day)
    usual = percentile_75(by_day[first:day])
    is_far_more = by_day[day] >= thresholds.MIN_REJECTED and by_day[day] > thresholds.REJECTED_TIMES * usual
    return usual if is_far_more else None


def percentile_75(counts: Sequence[int]) -> int:
    """The lowest count that three quarters do not exceed; zero of none."""
    return sorted(counts)[-(-3 * len(counts) // 4) - 1] if counts else 0


def expected_tokens(tokens: Sequence[int], hour: int) -> float:
    """The median of the same hour of the week in the 4 weeks before."""
    return median([float(tokens[hour - 7 * DAY * week]) for week in range(1, 5) if hour >= 7 * DAY * week])


def _rejections_on(
    days: Sequence[int], rejected: Sequence[int], tokens: Sequence[int], usual: Mapping[int, float]
) -> Rejections:
    """What was rejected on days in a row, from the first hour with many rejections to the last.

    :param usual: of each day, the 75th percentile of the days before. An hour has many if a day of such hours would be
        one with far more.
    """
    hours_with_many = [
        hour
        for day in days
        for hour in range(day * DAY, min((day + 1) * DAY, len(rejected)))
        if rejected[hour] * DAY > thresholds.REJECTED_TIMES * usual[day]
    ]
    begins, last = hours_with_many[0], hours_with_many[-1]
    # In the first and the last hour it may still, or again, have got some.
    meanwhile = range(begins + 1, last) if last - begins > 1 else range(begins, last + 1)
    return Rejections(
        begins,
        last + 1,
        rejected=sum(rejected[begins : last + 1]),
        usual=max(usual[day] for day in days),
        tokens=sum(tokens[hour] for hour in meanwhile),
        expected_tokens=sum(expected_tokens(tokens, hour) for hour in range(begins, last + 1)),
    )


def _first_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=thresholds.REJECTION_DAYS)


def origin(one: Rejections, sources: Sequence[Source]) -> str:
    """A sentence that says why, and from which networks; empty if nothing is known of these days."""
    reasons: Counter[str] = Counter()
    networks: Counter[str] = Counter()
    for source in sources:
        if one.begins // DAY <= source.day <= (one.ends - 1) // DAY:
            reasons[source.reason] += source.rejections
            networks[source.network] += source.rejections
    if not networks:
        return ""
    return f" Reasons: {_most_frequent(reasons)}. Networks: {_most_frequent(networks)}."


def _most_frequent(counts: Counter[str]) -> str:
    named = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown = [f"{name} ({count:,})" for name, count in named[: thresholds.MAX_SOURCES]]
    more = len(named) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _finding(one: Rejections, row: Any, first_day: date, query: FindingsQuery, origin: str) -> Finding:
    words = _words(one, row)
    is_critical = row.agent_name is not None and row.is_active and not one.tokens and one.expected_tokens >= 1
    return Finding(
        kind="rejections",
        severity=Severity.critical if is_critical else Severity.warning,
        agent_id=None if row.agent_name is None else row.agent_id,
        agent_name=row.agent_name,
        begins=instant(first_day, one.begins),
        ends=min(instant(first_day, one.ends), query.at),
        unit="rejected requests",
        observed=one.rejected,
        expected=one.usual,
        baseline=f"the 75th percentile of a day's rejected requests in the {thresholds.REJECTION_DAYS} days before",
        **words | {"summary": words["summary"] + origin},
    )


def _words(one: Rejections, row: Any) -> Any:
    if row.agent_name is None:
        return {
            "summary": f"{one.rejected:,} requests of subjects that have no agent failed to authenticate.",
            "causes": "A provisioning rule accepts their tokens, and creates no agent for them.",
            "next_step": "See the reason: the rule may have its maximum of agents, or provisioning may be off. "
            "agentidp credential test says more of a token.",
        }
    seen = f"{one.rejected:,} requests of {row.agent_name} failed to authenticate"
    if not row.is_active:
        return {
            "summary": f"{seen}, and it is suspended or deleted.",
            "causes": "Something still uses its credential or its tokens.",
            "next_step": "Find out where the requests come from, and stop what makes them.",
        }
    if one.tokens:
        return {
            "summary": f"{seen}, while it was still issued {number_of(one.tokens, 'token')}.",
            "causes": "An instance of it still has an old secret or tokens that are no longer valid, or somebody is "
            "guessing its secret.",
            "next_step": "Check where the requests come from: if from its own instances, give all of them the new "
            "secret; if not, rotate it.",
        }
    if one.expected_tokens < 1:
        return {
            "summary": f"{seen}, at a time at which it usually rests.",
            "causes": "Somebody is guessing its secret, or an instance that should no longer run has an old one.",
            "next_step": "Check where the requests come from: if not from its own instances, block their source; the "
            "secret itself cannot be guessed.",
        }
    return {
        "summary": f"{seen}, and no token was issued to it meanwhile; typically it is issued "
        f"{one.expected_tokens:,.0f} in that time.",
        "causes": "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
        "next_step": "Check which of its credentials are valid, and give its instances a valid one.",
    }
