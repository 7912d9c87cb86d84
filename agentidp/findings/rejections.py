"""``rejections``: an agent fails to authenticate far more often than usual; why, and from which networks.

Statistic: the day's rejected requests against three times the 75th percentile of the 28 days before, or of the days
since the agent's first one. Days in a row are one finding, from the first hour with many rejections to the last.

It is critical if no token was issued in this time although some were expected, because the secret was rotated then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from agentidp.counting import KEEP_NETWORKS
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import number_of
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, WEEK, daily, hourly, hours_until, instant, median, runs


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the histories of the agents with many rejected requests."""
    sources_since = max(query.since, query.until - timedelta(days=KEEP_NETWORKS))
    days = {"first_day": _first_day(query), "since": query.since, "until": query.until, "sources_since": sources_since}
    limits = {"min_rejected": thresholds.MIN_REJECTED, "max_agents": thresholds.MAX_REJECTED_AGENTS}
    return Call("findings/rejections", days | limits)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding for each run of days of an agent."""
    length = hours_until(query.at, _first_day(query))
    result: list[Finding] = []
    for row in rows:
        rejected, tokens = (hourly(row.history, length, unit) for unit in (1, 2))
        by_day, active = daily(rejected), [day for day, *_ in row.history]
        usual = {
            day: percentile
            for day in range(thresholds.REJECTION_DAYS, len(by_day))
            if (percentile := usual_if_exceeded(by_day, day, active)) is not None
        }
        result += [_finding(days, usual, rejected, tokens, row, query) for days in runs(list(usual), 1)]
    return result


def usual_if_exceeded(by_day: Sequence[int], day: int, active: Sequence[int]) -> int | None:
    """Return the 75th percentile of the days before if the day has far more rejected requests, or else ``None``.

    :param active: the days with any count. The days before the first one are not part of the baseline.
    """
    begins = day - thresholds.REJECTION_DAYS
    usual = percentile_75(by_day[min((earlier for earlier in active if begins <= earlier < day), default=day) : day])
    is_far_more = by_day[day] >= thresholds.MIN_REJECTED and by_day[day] > thresholds.REJECTED_TIMES * usual
    return usual if is_far_more else None


def percentile_75(counts: Sequence[int]) -> int:
    """Return the lowest count that three quarters of the counts do not exceed, or zero without a count."""
    return sorted(counts)[-(-3 * len(counts) // 4) - 1] if counts else 0


def _first_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=thresholds.REJECTION_DAYS)


def _finding(
    days: list[int],
    usual: dict[int, int],
    rejected: Sequence[int],
    tokens: Sequence[int],
    row: Any,
    query: FindingsQuery,
) -> Finding:
    """Return the finding about days in a row.

    :param usual: day -> the 75th percentile of the days before.
    """
    # An hour has many rejections if a day of such hours would have far more than usual.
    hours_with_many = [
        hour
        for hour in range(days[0] * DAY, min((days[-1] + 1) * DAY, len(rejected)))
        if rejected[hour] * DAY > thresholds.REJECTED_TIMES * usual[hour // DAY]
    ]
    begins, last = hours_with_many[0], hours_with_many[-1]
    observed = sum(rejected[begins : last + 1])
    # In the first and the last hour the agent may have been issued tokens before or after the rejections.
    meanwhile = sum(tokens[begins + 1 : last] if last - begins > 1 else tokens[begins : last + 1])
    expected = sum(
        median([float(tokens[hour - WEEK * week]) for week in range(1, 5) if hour >= WEEK * week])
        for hour in range(begins, last + 1)
    )
    severity, summary, causes, next_step = _explained(row, observed, meanwhile, expected)
    first_day = _first_day(query)
    return Finding(
        kind="rejections",
        severity=severity,
        agent_id=row.agent_id if row.agent_name else None,
        agent_name=row.agent_name,
        begins=instant(first_day, begins),
        ends=min(instant(first_day, last + 1), query.at),
        unit="rejected requests",
        observed=observed,
        expected=max(usual[day] for day in days),
        baseline=f"the 75th percentile of a day's rejected requests in the {thresholds.REJECTION_DAYS} days before",
        summary=summary + _origin(source for source in row.sources or () if begins // DAY <= source[0] <= last // DAY),
        causes=causes,
        next_step=next_step,
    )


def _explained(row: Any, rejected: int, tokens: int, expected: float) -> tuple[Severity, str, str, str]:
    """Return the severity, the summary, the causes and the next step. The tokens are those of the same time."""
    seen = f"{rejected:,} requests of {row.agent_name or 'subjects that have no agent'} failed to authenticate"
    if row.agent_name is None:
        return (
            Severity.warning,
            f"{seen}.",
            "A provisioning rule accepts their tokens, and creates no agent for them.",
            "See the reason: the rule may have its maximum of agents, or provisioning may be off. "
            "agentidp credential test says more of a token.",
        )
    if not row.is_active:
        return (
            Severity.warning,
            f"{seen}, and it is suspended or deleted.",
            "Something still uses its credential or its tokens.",
            "Find out where the requests come from, and stop what makes them.",
        )
    if tokens or expected < 1:
        issued = f"while it was still issued {number_of(tokens, 'token')}"
        return (
            Severity.warning,
            f"{seen}, {issued if tokens else 'at a time at which it usually rests'}.",
            "An instance of it still has an old secret or tokens that are no longer valid, or somebody is guessing its "
            "secret.",
            "Check where the requests come from: if from its own instances, give them the new secret; if not, block "
            "their source. The secret itself cannot be guessed.",
        )
    return (
        Severity.critical,
        f"{seen}, and no token was issued to it meanwhile; typically it is issued {expected:,.0f} in that time.",
        "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
        "Check which of its credentials are valid, and give its instances a valid one.",
    )


def _origin(sources: Iterable[tuple[int, str, str, int]]) -> str:
    """Return the sentences about the reasons and the networks; an empty text if they are unknown."""
    reasons, networks = Counter[str](), Counter[str]()
    for _, network, reason, number in sources:
        reasons[reason] += number
        networks[network] += number
    return f" Reasons: {_most_frequent(reasons)}. Networks: {_most_frequent(networks)}." if networks else ""


def _most_frequent(counts: Counter[str]) -> str:
    names = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} ({count:,})" for name, count in names[: thresholds.MAX_SOURCES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


KIND = Kind(call=call, findings=findings, absorbs=("silence",), has_marked_cause=True, counted="rejected")
