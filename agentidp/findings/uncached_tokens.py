"""``uncached_tokens``: agents request many times the tokens that they need, day after day.

Statistic: the issued tokens compared with the needed tokens. An agent needs one token per lifetime in each run of
active hours, for each declared replica. If no replicas are declared, the index of dispersion of the hours distinguishes
instances that keep their tokens from an agent that requests a token for each call.

1. A day is costly if the agent got more than ten times the tokens that it needed, in at least half of its active hours.
2. An agent is reported after two costly active days in a row, because a single day may be a loop of a few hours.
3. Nothing fails, so the finding is only listed, and several agents are one finding. The finding is a warning if a
   budget or quota is nearly used, and a tenth or more of the used tokens were wasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from math import ceil
from typing import Any, NamedTuple

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity, sum_findings
from agentidp.findings.history import DAY, expand_to_hours, group_adjacent, hours_until, instant, median
from agentidp.http.text import format_count


class CostlyDay(NamedTuple):
    """A day with far more tokens than the agent needed, and the first and last hour with too many tokens."""

    day: int
    tokens: int
    needed: int
    first_hour: int
    last_hour: int


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the hourly counts of the agents that seem to cache no tokens."""
    day_parameters = {"first_day": _first_history_day(query), "since": _candidates_since(query), "until": query.until}
    waste_parameters = {"token_ttl": query.token_ttl, "factor": thresholds.UNCACHED_FACTOR}
    limit_parameters = {
        "min_tokens": thresholds.MIN_UNCACHED_TOKENS,
        "min_days": thresholds.MIN_UNCACHED_DAYS,
        "max_agents": thresholds.MAX_UNCACHED_SUSPECTS,
    }
    return Call("findings/uncached_tokens", day_parameters | waste_parameters | limit_parameters)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per agent that does not cache its tokens. :func:`merge_uncached_tokens` merges the findings."""
    first_day = _first_history_day(query)
    hour_count, first_requested_day = hours_until(query.at, first_day), (query.since - first_day).days
    findings = []
    for row in rows:
        tokens_by_hour = expand_to_hours(row.history, hour_count, 1)
        requests_by_hour = expand_to_hours(row.history, hour_count, 2)
        costly_days = find_latest_costly_days(
            tokens_by_hour, requests_by_hour, query.token_ttl, first_requested_day, row.expected_replicas
        )
        if costly_days:
            findings.append(_make_finding(costly_days, row, query))
    return findings


def find_latest_costly_days(
    tokens_by_hour: Sequence[int], requests_by_hour: Sequence[int], token_ttl: int, since: int, replicas: int | None
) -> list[CostlyDay] | None:
    """Return the days of the latest period without cached tokens, or ``None`` if the period ended before *since*.

    :param since: the first requested day.
    :param replicas: the number of declared replicas; ``None`` leaves out days that caching instances explain.
    """
    runs_of_costly_days: list[list[CostlyDay]] = [[]]
    for midnight in range(0, len(requests_by_hour), DAY):
        day_requests = requests_by_hour[midnight : midnight + DAY]
        active_hours = [hour for hour, request_count in enumerate(day_requests, midnight) if request_count]
        if costly_day := describe_costly_day(tokens_by_hour, active_hours, token_ttl, replicas or 1):
            runs_of_costly_days[-1].append(costly_day)
        elif active_hours and runs_of_costly_days[-1]:
            runs_of_costly_days.append([])
    for costly_days in reversed(runs_of_costly_days):
        is_long_enough = len(costly_days) >= thresholds.MIN_UNCACHED_DAYS and costly_days[-1].day >= since
        if is_long_enough and (replicas or not is_explained_by_replicas(tokens_by_hour, costly_days, token_ttl)):
            return costly_days
    return None


def describe_costly_day(
    tokens_by_hour: Sequence[int], active_hours: Sequence[int], token_ttl: int, replica_count: int
) -> CostlyDay | None:
    """Return the day if the agent got far too many tokens in at least half of its active hours, otherwise ``None``."""
    costly_hours = [
        hour
        for hour in active_hours
        if tokens_by_hour[hour] * token_ttl > thresholds.UNCACHED_FACTOR * 3600 * replica_count
    ]
    issued_tokens = sum(tokens_by_hour[hour] for hour in active_hours)
    needed_tokens = count_needed_tokens(active_hours, token_ttl) * replica_count
    is_costly = (
        issued_tokens >= thresholds.MIN_UNCACHED_TOKENS and issued_tokens > thresholds.UNCACHED_FACTOR * needed_tokens
    )
    if not is_costly or not costly_hours or 2 * len(costly_hours) < len(active_hours):
        return None
    return CostlyDay(active_hours[0] // DAY, issued_tokens, needed_tokens, costly_hours[0], costly_hours[-1])


def count_needed_tokens(active_hours: Sequence[int], token_ttl: int) -> int:
    """Return the number of tokens that an agent needed: one per lifetime in each run of active hours."""
    # Idle hours during which a token stays valid do not end a run of active hours.
    max_gap_hours = max(token_ttl // 3600, 1)
    return sum(
        ceil((hour_run[-1] - hour_run[0] + 1) * 3600 / token_ttl)
        for hour_run in group_adjacent(active_hours, max_gap_hours)
    )


def is_explained_by_replicas(tokens_by_hour: Sequence[int], costly_days: Sequence[CostlyDay], token_ttl: int) -> bool:
    """Return whether many instances of the agent, each of which caches its token, explain the costly days.

    The number of tokens then hardly differs from hour to hour, because each instance renews its token regularly.
    """
    # If a token lives for more than an hour, the counts do not show when tokens are renewed.
    if token_ttl > 3600:
        return False
    adjacent_token_counts = [
        (tokens_by_hour[hour], tokens_by_hour[hour + 1])
        for costly_day in costly_days
        for hour in range(costly_day.first_hour, costly_day.last_hour)
    ]
    dispersions = [
        (hour_tokens - next_hour_tokens) ** 2 / (hour_tokens + next_hour_tokens)
        for hour_tokens, next_hour_tokens in adjacent_token_counts
        if hour_tokens or next_hour_tokens
    ]
    is_steady = median(dispersions) <= thresholds.MAX_REPLICA_DISPERSION
    replica_count = median([float(hour_tokens) for hour_tokens, _ in adjacent_token_counts]) * token_ttl / 3600
    return (
        len(dispersions) >= thresholds.MIN_DISPERSION_PAIRS and is_steady and replica_count <= thresholds.MAX_REPLICAS
    )


def merge_uncached_tokens(findings: list[Finding]) -> list[Finding]:
    """Merge the findings about uncached tokens into one finding: a warning if the tokens endanger a budget or quota."""
    uncached_findings = [finding for finding in findings if finding.kind == "uncached_tokens"]
    if not uncached_findings:
        return findings
    is_warning = any(
        _is_limit_endangered(uncached_findings, finding) for finding in findings if finding.kind in ("budget", "quota")
    )
    merged_finding = uncached_findings[0] if len(uncached_findings) == 1 else _merge_findings(uncached_findings)
    merged_finding = replace(merged_finding, severity=Severity.warning if is_warning else Severity.info)
    return [*(finding for finding in findings if finding.kind != "uncached_tokens"), merged_finding]


def _is_limit_endangered(uncached_findings: Sequence[Finding], limit_finding: Finding) -> bool:
    """Return whether uncached tokens are at least a tenth of the tokens of a budget or quota that is nearly used up."""
    wasted_tokens = sum(
        uncached_finding.excess
        for uncached_finding in uncached_findings
        if limit_finding.agent_id in (None, uncached_finding.agent_id) and uncached_finding.overlaps(limit_finding)
    )
    return wasted_tokens > 0 and 100 * wasted_tokens >= thresholds.MIN_CONTRIBUTOR_PERCENT * limit_finding.observed


def _merge_findings(uncached_findings: Sequence[Finding]) -> Finding:
    total = sum_findings(uncached_findings, thresholds.MAX_UNCACHED_AGENTS)
    return replace(
        total,
        baseline="one token per lifetime in the active hours of each agent, for each declared replica",
        summary=f"{len(uncached_findings)} agents request a token for each call: they were issued "
        f"{total.observed:,.0f} tokens and needed {total.expected:,.0f}.",
        causes="Their clients do not keep the token that they have, or very many instances of them run.",
        next_step=f"Make them keep a token for the seconds of expires_in, which would have saved {total.excess:,.0f} "
        "tokens. Declare how many instances run: agentidp agent update --expected-replicas.",
    )


def _candidates_since(query: FindingsQuery) -> date:
    day_count = min(max(query.days, thresholds.MIN_UNCACHED_DAYS_READ), thresholds.MAX_UNCACHED_DAYS_READ)
    return query.until - timedelta(days=day_count)


def _first_history_day(query: FindingsQuery) -> date:
    """Return the first day of the month before the month of the first candidate day (:func:`_candidates_since`).

    Waste that began earlier is reported as beginning on this day, which changes only once per month.
    """
    return (_candidates_since(query).replace(day=1) - timedelta(days=1)).replace(day=1)


def _make_finding(costly_days: list[CostlyDay], row: Any, query: FindingsQuery) -> Finding:
    issued_tokens = sum(costly_day.tokens for costly_day in costly_days)
    needed_tokens = sum(costly_day.needed for costly_day in costly_days)
    begins_at, ends_at = (
        instant(_first_history_day(query), day * DAY) for day in (costly_days[0].day, costly_days[-1].day + 1)
    )
    replica_words = format_count(row.expected_replicas, "declared replica") if row.expected_replicas else None
    return Finding(
        kind="uncached_tokens",
        severity=Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=begins_at,
        ends=min(query.at, ends_at),
        unit="tokens",
        observed=issued_tokens,
        expected=needed_tokens,
        excess=issued_tokens - needed_tokens,
        baseline=f"one token per {query.token_ttl} seconds in its active hours"
        + (f", for {replica_words}" if replica_words else ""),
        summary=f"{row.agent_name} was issued {issued_tokens:,} tokens on {len(costly_days)} days; "
        f"{f'its {replica_words}' if replica_words else 'it'} needed {needed_tokens:,}.",
        causes="It asks for a new token before each call instead of keeping the one that it has, or "
        + ("more instances of it run than are declared." if replica_words else "very many instances of it run."),
        next_step=f"Make it keep its token for the {query.token_ttl} seconds of expires_in, which would have saved "
        f"{issued_tokens - needed_tokens:,} tokens. If its instances are short-lived, let them share one. "
        "If many instances run, declare how many: agentidp agent update --expected-replicas.",
    )


KIND = Kind(build_call, compute_findings, ends_after=timedelta(days=3), is_about_tokens=True, cause_rank=1)
