"""``rejections``: an agent fails to authenticate far more often than usual; why, and from which networks.

Statistic: the day's rejected requests compared with three times the 75th percentile of the 28 days before, or of the
days since the agent's first activity. Consecutive days are one finding, from the first hour with many rejections to the
last.

The finding is critical if no token was issued in this time although some were expected, because then the secret was
probably rotated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from agentidp.counting import KEEP_NETWORKS
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import number_of
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, WEEK, daily, hourly, hours_until, instant, median, runs

BASELINE = (
    f"the number of rejected requests that three quarters of the {thresholds.REJECTION_DAYS} days before did not exceed"
)


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the hourly counts of agents with many rejected requests."""
    sources_since = max(query.since, query.until - timedelta(days=KEEP_NETWORKS))
    days = {"first_day": _first_day(query), "since": query.since, "until": query.until, "sources_since": sources_since}
    limits = {"min_rejected": thresholds.MIN_REJECTED, "max_agents": thresholds.MAX_REJECTED_AGENTS}
    return Call("findings/rejections", days | limits)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per agent and run of consecutive days."""
    length = hours_until(query.at, _first_day(query))
    result: list[Finding] = []
    for row in rows:
        rejected, tokens = (hourly(row.history, length, unit) for unit in (1, 2))
        by_day, active_days = daily(rejected), [day for day, *_ in row.history]
        baselines = {
            day: baseline
            for day in range(thresholds.REJECTION_DAYS, len(by_day))
            if (baseline := exceeded_baseline(by_day, day, active_days)) is not None
        }
        result += [_finding(days, baselines, rejected, tokens, row, query) for days in runs(list(baselines), 1)]
    return result


def exceeded_baseline(by_day: Sequence[int], day: int, active_days: Sequence[int]) -> int | None:
    """Return the 75th percentile of the days before, if a day has far more rejected requests; otherwise ``None``.

    :param active_days: the days with any count. The days before the first of them are not part of the baseline.
    """
    begins = day - thresholds.REJECTION_DAYS
    first = min((active for active in active_days if begins <= active < day), default=day)
    baseline = percentile_75(by_day[first:day])
    is_far_more = by_day[day] >= thresholds.MIN_REJECTED and by_day[day] > thresholds.REJECTED_TIMES * baseline
    return baseline if is_far_more else None


def percentile_75(counts: Sequence[int]) -> int:
    """Return the lowest count that three quarters of the counts do not exceed, or zero if there are no counts."""
    return sorted(counts)[-(-3 * len(counts) // 4) - 1] if counts else 0


def _first_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=thresholds.REJECTION_DAYS)


def _finding(
    days: list[int],
    baselines: dict[int, int],
    rejected: Sequence[int],
    tokens: Sequence[int],
    row: Any,
    query: FindingsQuery,
) -> Finding:
    # Compares the rejections that a whole day would have at the rate of the hour.
    hours_with_many = [
        hour
        for hour in range(days[0] * DAY, min((days[-1] + 1) * DAY, len(rejected)))
        if rejected[hour] * DAY > thresholds.REJECTED_TIMES * baselines[hour // DAY]
    ]
    begins, last = hours_with_many[0], hours_with_many[-1]
    observed = sum(rejected[begins : last + 1])
    # Leaves out the first and the last hour, in which the tokens may have been issued before or after the rejections.
    issued = sum(tokens[begins + 1 : last] if last - begins > 1 else tokens[begins : last + 1])
    expected = sum(
        median([float(tokens[hour - WEEK * week]) for week in range(1, 5) if hour >= WEEK * week])
        for hour in range(begins, last + 1)
    )
    severity, summary, causes, next_step = _explain(row, observed, issued, expected)
    first_day = _first_day(query)
    sources = [source for source in row.sources or () if begins // DAY <= source[0] <= last // DAY]
    return Finding(
        kind="rejections",
        severity=severity,
        agent_id=row.agent_id if row.agent_name else None,
        agent_name=row.agent_name,
        begins=instant(first_day, begins),
        ends=min(instant(first_day, last + 1), query.at),
        unit="rejected requests",
        observed=observed,
        expected=max(baselines[day] for day in days),
        baseline=BASELINE,
        summary=summary + _sources_in_words(sources),
        causes=causes,
        next_step=next_step,
    )


def _explain(row: Any, rejected: int, issued: int, expected: float) -> tuple[Severity, str, str, str]:
    """Return the severity, summary, causes and next step of a finding about rejected requests.

    :param issued: the tokens that the agent was issued in the same period.
    :param expected: the tokens that it usually is issued in this period.
    """
    failures = f"{rejected:,} requests of {row.agent_name or 'subjects that have no agent'} failed to authenticate"
    if row.agent_name is None:
        return (
            Severity.warning,
            f"{failures}.",
            "A provisioning rule accepts their tokens, and creates no agent for them.",
            "See the reason: the rule may have its maximum of agents, or provisioning may be off. "
            "agentidp credential test says more of a token.",
        )
    if not row.is_active:
        return (
            Severity.warning,
            f"{failures}, and it is suspended or deleted.",
            "Something still uses its credential or its tokens.",
            "Find out where the requests come from, and stop what makes them.",
        )
    if issued or expected < 1:
        meanwhile = f"while it was still issued {number_of(issued, 'token')}"
        return (
            Severity.warning,
            f"{failures}, {meanwhile if issued else 'at a time at which it usually rests'}.",
            "An instance of it still has an old secret or tokens that are no longer valid, or somebody is guessing its "
            "secret.",
            "Check where the requests come from: if from its own instances, give them the new secret; if not, block "
            "their source. The secret itself cannot be guessed.",
        )
    return (
        Severity.critical,
        f"{failures}, and no token was issued to it meanwhile; typically it is issued {expected:,.0f} in that time.",
        "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
        "Check which of its credentials are valid, and give its instances a valid one.",
    )


def _sources_in_words(sources: list[tuple[int, str, str, int]]) -> str:
    """Return sentences about the reasons and networks of the rejections, or an empty string if they are unknown."""
    reasons, networks = Counter[str](), Counter[str]()
    for _, network, reason, count in sources:
        reasons[reason] += count
        networks[network] += count
    return f" Reasons: {_most_frequent(reasons)}. Networks: {_most_frequent(networks)}." if networks else ""


def _most_frequent(counts: Counter[str]) -> str:
    names = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    phrases = [f"{name} ({count:,})" for name, count in names[: thresholds.MAX_SOURCES]]
    rest_count = len(names) - len(phrases)
    return ", ".join(phrases) + (f" and {rest_count} more" if rest_count else "")


KIND = Kind(call=call, findings=findings, absorbs=("silence",), has_marked_cause=True, counted="rejected")
