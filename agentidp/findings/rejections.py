"""``rejections``: an agent fails to authenticate far more often than usual, with the reasons and the networks.

Statistic: the day's rejected requests compared with three times the 75th percentile of the 28 days before, or of the
days since the agent's first activity. Consecutive days are one finding, from the first hour with many rejections to the
last. The finding is critical if no token was issued in this time although tokens were expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from agentidp.counting import KEEP_NETWORKS
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import (
    DAY,
    WEEK,
    expand_to_hours,
    group_adjacent,
    hours_until,
    instant,
    median,
    sum_by_day,
)
from agentidp.http.text import format_count

BASELINE = (
    f"the number of rejected requests that three quarters of the {thresholds.REJECTION_DAYS} days before did not exceed"
)


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the hourly counts of agents with many rejected requests."""
    day_parameters = {"first_day": _first_history_day(query), "since": query.since, "until": query.until}
    source_parameters = {"sources_since": max(query.since, query.until - timedelta(days=KEEP_NETWORKS))}
    limit_parameters = {"min_rejected": thresholds.MIN_REJECTED, "max_agents": thresholds.MAX_REJECTED_AGENTS}
    return Call("findings/rejections", day_parameters | source_parameters | limit_parameters)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per agent and run of days with far more rejected requests than usual."""
    hour_count = hours_until(query.at, _first_history_day(query))
    findings: list[Finding] = []
    for agent_row in rows:
        rejections_by_hour = expand_to_hours(agent_row.history, hour_count, 1)
        tokens_by_hour = expand_to_hours(agent_row.history, hour_count, 2)
        rejections_by_day, active_days = sum_by_day(rejections_by_hour), [day for day, *_ in agent_row.history]
        baselines_by_day = {
            day: baseline
            for day in range(thresholds.REJECTION_DAYS, len(rejections_by_day))
            if (baseline := find_exceeded_baseline(rejections_by_day, day, active_days)) is not None
        }
        findings += [
            _make_finding(unusual_days, baselines_by_day, rejections_by_hour, tokens_by_hour, agent_row, query)
            for unusual_days in group_adjacent(list(baselines_by_day), 1)
        ]
    return findings


def find_exceeded_baseline(rejections_by_day: Sequence[int], day: int, active_days: Sequence[int]) -> int | None:
    """Return a day's baseline if the day's rejected requests far exceed the baseline, otherwise ``None``.

    The baseline is the 75th percentile of the rejected requests per day on the ``REJECTION_DAYS`` days before.

    :param active_days: the days with tokens or rejected requests. Days before the first active day are left out of the
        baseline.
    """
    earliest_day = day - thresholds.REJECTION_DAYS
    first_active_day = min((active_day for active_day in active_days if earliest_day <= active_day < day), default=day)
    rejection_count, baseline = rejections_by_day[day], percentile_75(rejections_by_day[first_active_day:day])
    is_exceeded = rejection_count >= thresholds.MIN_REJECTED and rejection_count > thresholds.REJECTED_TIMES * baseline
    return baseline if is_exceeded else None


def percentile_75(counts: Sequence[int]) -> int:
    """Return the lowest count that three quarters of the counts do not exceed, or zero if there are no counts."""
    return sorted(counts)[-(-3 * len(counts) // 4) - 1] if counts else 0


def _first_history_day(query: FindingsQuery) -> date:
    return query.since - timedelta(days=thresholds.REJECTION_DAYS)


def _make_finding(
    unusual_days: list[int],
    baselines_by_day: dict[int, int],
    rejections_by_hour: Sequence[int],
    tokens_by_hour: Sequence[int],
    row: Any,
    query: FindingsQuery,
) -> Finding:
    # An hour has many rejections if a day of 24 such hours would exceed the limit of a day.
    hours_above_limit = [
        hour
        for hour in range(unusual_days[0] * DAY, min((unusual_days[-1] + 1) * DAY, len(rejections_by_hour)))
        if rejections_by_hour[hour] * DAY > thresholds.REJECTED_TIMES * baselines_by_day[hour // DAY]
    ]
    first_hour, last_hour = hours_above_limit[0], hours_above_limit[-1]
    rejected_requests = sum(rejections_by_hour[first_hour : last_hour + 1])
    issued_tokens, expected_tokens = _count_issued_and_expected_tokens(tokens_by_hour, first_hour, last_hour)
    severity, summary, causes, next_step = _explain_rejections(row, rejected_requests, issued_tokens, expected_tokens)
    first_day = _first_history_day(query)
    sources = [source for source in row.sources or () if first_hour // DAY <= source[0] <= last_hour // DAY]
    return Finding(
        kind="rejections",
        severity=severity,
        agent_id=row.agent_id if row.agent_name else None,
        agent_name=row.agent_name,
        begins=instant(first_day, first_hour),
        ends=min(instant(first_day, last_hour + 1), query.at),
        unit="rejected requests",
        observed=rejected_requests,
        expected=max(baselines_by_day[day] for day in unusual_days),
        baseline=BASELINE,
        summary=summary + _describe_sources(sources),
        causes=causes,
        next_step=next_step,
    )


def _count_issued_and_expected_tokens(
    tokens_by_hour: Sequence[int], first_hour: int, last_hour: int
) -> tuple[int, float]:
    """Return how many tokens an agent was issued, and is usually issued, in a range of hours."""
    hours = range(first_hour, last_hour + 1)
    expected_tokens = sum(
        median([float(tokens_by_hour[hour - WEEK * week]) for week in range(1, 5) if hour >= WEEK * week])
        for hour in hours
    )
    if len(hours) > 2:
        # Tokens of the first and the last hour are left out, because they may be older or newer than the rejections.
        hours = hours[1:-1]
    return sum(tokens_by_hour[hour] for hour in hours), expected_tokens


def _explain_rejections(row: Any, failures: int, tokens: int, usual_tokens: float) -> tuple[Severity, str, str, str]:
    """Return the severity, summary, causes and next step of a finding about rejected requests.

    :param failures: the number of rejected requests.
    :param tokens: the number of tokens that the agent was issued in the same period.
    :param usual_tokens: the number of tokens that the agent is usually issued in such a period.
    """
    failure_words = f"{failures:,} requests of {row.agent_name or 'subjects that have no agent'} failed to authenticate"
    if row.agent_name is None:
        return (
            Severity.warning,
            f"{failure_words}.",
            "A provisioning rule accepts their tokens, and creates no agent for them.",
            "See the reason: the rule may have its maximum of agents, or provisioning may be off. "
            "agentidp credential test shows why a token is not accepted.",
        )
    if not row.is_active:
        return (
            Severity.warning,
            f"{failure_words}, and it is suspended or deleted.",
            "Something still uses its credential or its tokens.",
            "Find out where the requests come from, and stop what makes them.",
        )
    if tokens or usual_tokens < 1:
        issuance_words = f"while it was still issued {format_count(tokens, 'token')}"
        return (
            Severity.warning,
            f"{failure_words}, {issuance_words if tokens else 'at a time at which it usually rests'}.",
            "An instance of it still has an old secret or tokens that are no longer valid, or somebody is guessing its "
            "secret.",
            "Check where the requests come from: if from its own instances, give them the new secret; if not, block "
            "their source. The secret itself cannot be guessed.",
        )
    return (
        Severity.critical,
        f"{failure_words}, and no token was issued to it meanwhile; typically it is issued {usual_tokens:,.0f} in that "
        "time.",
        "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
        "Check which of its credentials are valid, and give its instances a valid one.",
    )


def _describe_sources(sources: list[tuple[int, str, str, int]]) -> str:
    """Return sentences about the reasons and networks of the rejections, or an empty string if they are unknown."""
    counts_by_reason, counts_by_network = Counter[str](), Counter[str]()
    for _, network, reason, rejection_count in sources:
        counts_by_reason[reason] += rejection_count
        counts_by_network[network] += rejection_count
    if not counts_by_network:
        return ""
    return f" Reasons: {_list_most_frequent(counts_by_reason)}. Networks: {_list_most_frequent(counts_by_network)}."


def _list_most_frequent(counts_by_name: Counter[str]) -> str:
    sorted_counts = sorted(counts_by_name.items(), key=lambda item: (-item[1], item[0]))
    name_phrases = [f"{name} ({count:,})" for name, count in sorted_counts[: thresholds.MAX_SOURCES]]
    unnamed_count = len(sorted_counts) - len(name_phrases)
    return ", ".join(name_phrases) + (f" and {unnamed_count} more" if unnamed_count else "")


KIND = Kind(build_call, compute_findings, absorbs=("silence",), has_marked_cause=True, counted="rejected")
