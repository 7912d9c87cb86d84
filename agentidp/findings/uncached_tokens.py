"""``uncached_tokens``: agents request many times the tokens that they need, day after day.

Statistic: the issued tokens compared with the needed tokens. An agent needs one token per lifetime in each run of
active hours, for each declared replica. If no replicas are declared, the index of dispersion of the hours distinguishes
instances that keep their tokens from an agent that requests a token for each call.

1. A day is costly if the agent was issued more than ten times the tokens that it needed, in half of its active hours.
2. Two costly days in a row, among the days on which the agent was active, are a habit, unlike a loop of a few hours.
3. A habit only wastes tokens, so the finding is only listed, and the habits of several agents are one finding. It is a
   warning if a budget or quota is nearly used, and a tenth or more of the used tokens were wasted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from math import ceil
from typing import Any, NamedTuple

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import number_of
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity, sum_findings
from agentidp.findings.history import DAY, hourly, hours_until, instant, median, runs


class CostlyDay(NamedTuple):
    """A day on which an agent was issued far more tokens than it needed, and the first and last hour with too many."""

    day: int
    tokens: int
    needed: int
    first_hour: int
    last_hour: int


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the hourly counts of agents that may not cache their tokens."""
    days = {"first_day": _first_day(query), "since": _candidates_since(query), "until": query.until}
    waste = {"token_ttl": query.token_ttl, "factor": thresholds.UNCACHED_FACTOR}
    limits = {
        "min_tokens": thresholds.MIN_UNCACHED_TOKENS,
        "min_days": thresholds.MIN_UNCACHED_DAYS,
        "max_agents": thresholds.MAX_UNCACHED_SUSPECTS,
    }
    return Call("findings/uncached_tokens", days | waste | limits)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per agent that does not cache its tokens. :func:`merge_habits` merges these findings later."""
    first_day = _first_day(query)
    length, since = hours_until(query.at, first_day), (query.since - first_day).days
    result = []
    for row in rows:
        tokens, requests = (hourly(row.history, length, unit) for unit in (1, 2))
        if days := latest_habit(tokens, requests, query.token_ttl, since, row.expected_replicas):
            result.append(_finding(days, row, query))
    return result


def latest_habit(
    tokens: Sequence[int], requests: Sequence[int], token_ttl: int, since: int, replicas: int | None = None
) -> list[CostlyDay] | None:
    """Return the days of the latest period in which an agent did not cache its tokens, if it reaches *since*.

    :param token_ttl: the lifetime of a token in seconds.
    :param replicas: the number of declared replicas. ``None`` means that many instances, each of which caches its
        tokens, are recognized and not reported.
    """
    habits: list[list[CostlyDay]] = [[]]
    for begins in range(0, len(requests), DAY):
        active = [hour for hour in range(begins, min(begins + DAY, len(requests))) if requests[hour]]
        if costly_hours := costly_day(tokens, active, token_ttl, replicas or 1):
            habits[-1].append(costly_hours)
        elif active and habits[-1]:
            habits.append([])
    for days in map(newest_days, reversed(habits)):
        is_habit = len(days) >= thresholds.MIN_UNCACHED_DAYS and days[-1].day >= since
        if is_habit and (replicas or not are_replicas(tokens, days, token_ttl)):
            return days
    return None


def newest_days(days: list[CostlyDay]) -> list[CostlyDay]:
    """Return the last days if each wastes several times as many tokens as the days before; otherwise all days.

    Otherwise many instances that stop caching their tokens would for weeks look like instances that cache them.
    """
    waste = [day.tokens / day.needed for day in days]
    first = max(len(days) - thresholds.MAX_NEW_HABIT_DAYS, thresholds.MIN_OLD_HABIT_DAYS)
    for start in range(first, len(days) - thresholds.MIN_UNCACHED_DAYS + 1):
        if min(waste[start:]) > thresholds.NEW_HABIT_TIMES * median(waste[:start]):
            return days[start:]
    return days


def costly_day(tokens: Sequence[int], active: Sequence[int], token_ttl: int, replicas: int) -> CostlyDay | None:
    """Return an agent's day if it was issued far more tokens than needed, in at least half of its *active* hours."""
    costly_hours = [hour for hour in active if tokens[hour] * token_ttl > thresholds.UNCACHED_FACTOR * 3600 * replicas]
    issued, needed = sum(tokens[hour] for hour in active), needed_tokens(active, token_ttl) * replicas
    is_costly = issued >= thresholds.MIN_UNCACHED_TOKENS and issued > thresholds.UNCACHED_FACTOR * needed
    if not is_costly or not costly_hours or 2 * len(costly_hours) < len(active):
        return None
    return CostlyDay(active[0] // DAY, issued, needed, costly_hours[0], costly_hours[-1])


def needed_tokens(active: Sequence[int], token_ttl: int) -> int:
    """Return one token per lifetime in each run of active hours. Idle hours that a token outlives are part of a run."""
    max_gap = max(token_ttl // 3600, 1)
    return sum(ceil((run[-1] - run[0] + 1) * 3600 / token_ttl) for run in runs(active, max_gap))


def are_replicas(tokens: Sequence[int], days: Sequence[CostlyDay], token_ttl: int) -> bool:
    """Return whether instances that cache their tokens explain the days, whose hourly counts then hardly differ.

    If the lifetime of a token exceeds an hour, the counts do not show when tokens are renewed, and the answer is no.
    """
    if token_ttl > 3600:
        return False
    pairs = [(tokens[hour], tokens[hour + 1]) for day in days for hour in range(day.first_hour, day.last_hour)]
    dispersions = [(count - following) ** 2 / (count + following) for count, following in pairs if count or following]
    is_steady = median(dispersions) <= thresholds.MAX_REPLICA_DISPERSION
    replicas = median([float(count) for count, _ in pairs]) * token_ttl / 3600
    return len(dispersions) >= thresholds.MIN_DISPERSION_PAIRS and is_steady and replicas <= thresholds.MAX_REPLICAS


def merge_habits(findings: list[Finding]) -> list[Finding]:
    """Merge the findings about uncached tokens into one, which is a warning if it endangers a budget or quota."""
    habits = [finding for finding in findings if finding.kind == "uncached_tokens"]
    if not habits:
        return findings
    is_warning = any(_endangers(habits, finding) for finding in findings if finding.kind in ("budget", "quota"))
    habit = habits[0] if len(habits) == 1 else _merged(habits)
    habit = replace(habit, severity=Severity.warning if is_warning else Severity.info)
    return [*(finding for finding in findings if finding.kind != "uncached_tokens"), habit]


def _endangers(habits: Sequence[Finding], limit: Finding) -> bool:
    """Return whether uncached tokens are at least a tenth of the tokens of a budget or quota that is nearly used up."""
    wasted_tokens = sum(
        habit.excess
        for habit in habits
        if limit.agent_id in (None, habit.agent_id) and habit.begins < limit.ends and limit.begins < habit.ends
    )
    return wasted_tokens > 0 and 100 * wasted_tokens >= thresholds.MIN_CONTRIBUTOR_PERCENT * limit.observed


def _merged(habits: Sequence[Finding]) -> Finding:
    habit = sum_findings(habits, thresholds.MAX_UNCACHED_AGENTS)
    return replace(
        habit,
        baseline="one token per lifetime in the active hours of each agent, for each declared replica",
        summary=f"{len(habits)} agents request a token for each call: they were issued {habit.observed:,.0f} tokens "
        f"and needed {habit.expected:,.0f}.",
        causes="Their clients do not keep the token that they have, or very many instances of them run.",
        next_step=f"Make them keep a token for the seconds of expires_in, which would have saved {habit.excess:,.0f} "
        "tokens. Declare how many instances run: agentidp agent update --expected-replicas.",
    )


def _candidates_since(query: FindingsQuery) -> date:
    days = min(max(query.days, thresholds.MIN_UNCACHED_DAYS_READ), thresholds.MAX_UNCACHED_DAYS_READ)
    return query.until - timedelta(days=days)


def _first_day(query: FindingsQuery) -> date:
    """Return the first day of a month, so that the beginning of an older waste stays the same for a month."""
    return (_candidates_since(query).replace(day=1) - timedelta(days=1)).replace(day=1)


def _finding(days: list[CostlyDay], row: Any, query: FindingsQuery) -> Finding:
    issued, needed = sum(day.tokens for day in days), sum(day.needed for day in days)
    begins, ends = (instant(_first_day(query), day * DAY) for day in (days[0].day, days[-1].day + 1))
    replicas = number_of(row.expected_replicas, "declared replica") if row.expected_replicas else None
    return Finding(
        kind="uncached_tokens",
        severity=Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=begins,
        ends=min(query.at, ends),
        unit="tokens",
        observed=issued,
        expected=needed,
        excess=issued - needed,
        baseline=f"one each {query.token_ttl} seconds in its active hours" + (f", for {replicas}" if replicas else ""),
        summary=f"{row.agent_name} was issued {issued:,} tokens on {len(days)} days; "
        f"{f'its {replicas}' if replicas else 'it'} needed {needed:,}.",
        causes="It asks for a new token before each call instead of keeping the one that it has, or "
        + ("more instances of it run than are declared." if replicas else "very many instances of it run."),
        next_step=f"Make it keep its token for the {query.token_ttl} seconds of expires_in, which would have saved "
        f"{issued - needed:,} tokens. If its instances are short-lived, let them share one. If many instances run, "
        "declare how many: agentidp agent update --expected-replicas.",
    )


KIND = Kind(call=call, findings=findings, ends_after=timedelta(days=3), is_about_tokens=True, cause_rank=1)
