"""``uncached_tokens``: an agent asks for many times the tokens that it needs, day after day.

Statistic: the tokens issued against the tokens needed, one a lifetime in each run of active hours for each replica that
is declared; and if none are, the index of dispersion of the hours, which distinguishes instances that keep their tokens
from calls that each ask for one.

1. A day is costly with more than ten times the tokens needed, in half of its active hours. Two costly days in a row,
   among those on which the agent was active, are a habit; a loop of a few hours is none.
2. It is a warning above 25 times while it is news: from its third day on, for two weeks, or after its waste has become
   three times what it was. What an agent has done for longer, also with breaks, or each weekend, is probably by design,
   and is listed with what could be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from math import ceil
from typing import Any, NamedTuple

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import DAY, hourly, hours_until, instant, median, runs


class CostlyDay(NamedTuple):
    """A day with far more tokens than needed; the hours of the first and the last that cost too much."""

    day: int
    tokens: int
    fewest: int
    first_hour: int
    last_hour: int


def call(query: FindingsQuery) -> Call:
    """The histories of the agents that may have the habit."""
    days = {"first_day": _first_day(query), "since": _candidates_since(query), "until": query.until}
    waste = {"token_ttl": query.token_ttl, "factor": thresholds.UNCACHED_FACTOR}
    limits = {
        "min_tokens": thresholds.MIN_UNCACHED_TOKENS,
        "min_days": thresholds.MIN_UNCACHED_DAYS,
        "max_agents": thresholds.MAX_UNCACHED_SUSPECTS,
    }
    return Call("findings/uncached_tokens", days | waste | limits)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One an agent, those that waste the most."""
    first_day = _first_day(query)
    length, since = hours_until(query.at, first_day), (query.since - first_day).days
    found = []
    for row in rows:
        tokens, requests = (hourly(row.history, length, unit) for unit in (1, 2))
        if habit := habit_of(tokens, requests, query.token_ttl, since, row.expected_replicas):
            found.append(_finding(*habit, row, query))
    found.sort(key=lambda one: (-one.excess, str(one.agent_id)))
    return found[: thresholds.MAX_UNCACHED_AGENTS]


def habit_of(
    tokens: Sequence[int], requests: Sequence[int], token_ttl: int, since: int, declared: int | None = None
) -> tuple[list[CostlyDay], bool] | None:
    """The days of the latest habit that reaches into those from *since* on, and whether it is an old one.

    There is none if replicas that keep their tokens explain it.

    :param token_ttl: a token's lifetime in seconds.
    :param declared: how many replicas are; otherwise they are estimated.
    """
    groups: list[list[CostlyDay]] = [[]]
    active: list[int] = []
    for begins in range(0, len(requests), DAY):
        hours = [hour for hour in range(begins, min(begins + DAY, len(requests))) if requests[hour]]
        if not hours:
            continue
        active.append(begins // DAY)
        if costly := costly_day(tokens, hours, token_ttl, declared or 1):
            groups[-1].append(costly)
        elif groups[-1]:
            groups.append([])
    while groups:
        group = groups.pop()
        days = min(newest_part([day for earlier in groups for day in earlier] + group), group, key=len)
        if (
            len(days) >= thresholds.MIN_UNCACHED_DAYS
            and days[-1].day >= since
            and (declared or not are_replicas(tokens, days, token_ttl))
        ):
            habits = [len(group) for group in groups if len(group) >= thresholds.MIN_UNCACHED_DAYS]
            before, active_before = sum(habits), sum(1 for day in active if day < days[0].day)
            is_often = 2 * before >= active_before or len(habits) >= thresholds.MIN_OLD_HABITS
            return days, days == group and before >= thresholds.MIN_OLD_HABIT_DAYS and is_often
    return None


def newest_part(days: list[CostlyDay]) -> list[CostlyDay]:
    """The last days of a habit if the waste of each is a multiple of what it was before; otherwise all of them."""
    waste = [day.tokens / day.fewest for day in days]
    begins = max(len(days) - thresholds.NEW_HABIT_DAYS, thresholds.MIN_OLD_HABIT_DAYS)
    for place in range(begins, len(days) - thresholds.MIN_UNCACHED_DAYS + 1):
        if min(waste[place:]) > thresholds.NEW_HABIT_TIMES * median(waste[:place]):
            return days[place:]
    return days


def costly_day(tokens: Sequence[int], hours: Sequence[int], token_ttl: int, replicas: int) -> CostlyDay | None:
    """The day, if it has far more tokens than needed, and not in a few of its hours only.

    :param hours: those of the day in which the agent was active.
    """
    costly = [hour for hour in hours if tokens[hour] * token_ttl > thresholds.UNCACHED_FACTOR * 3600 * replicas]
    issued, fewest = sum(tokens[hour] for hour in hours), fewest_tokens(hours, token_ttl) * replicas
    is_costly = issued >= thresholds.MIN_UNCACHED_TOKENS and issued > thresholds.UNCACHED_FACTOR * fewest
    if not is_costly or not costly or 2 * len(costly) < len(hours):
        return None
    return CostlyDay(hours[0] // DAY, issued, fewest, costly[0], costly[-1])


def fewest_tokens(active: Sequence[int], token_ttl: int) -> int:
    """One token a lifetime in each run of active hours; a token outlives the idle hours between two runs."""
    step = max(token_ttl // 3600, 1)
    return sum(ceil((run[-1] - run[0] + 1) * 3600 / token_ttl) for run in runs(active, step))


def are_replicas(tokens: Sequence[int], days: Sequence[CostlyDay], token_ttl: int) -> bool:
    """Whether instances that keep their tokens explain the days: these ask in turn, so the hours hardly differ.

    Of tokens that outlive the hour nothing is known: when they are renewed, the hours do not show.
    """
    if token_ttl > 3600:
        return False
    pairs = [(tokens[hour], tokens[hour + 1]) for day in days for hour in range(day.first_hour, day.last_hour)]
    dispersions = [(one - other) ** 2 / (one + other) for one, other in pairs if one or other]
    is_steady = median(dispersions) <= thresholds.MAX_REPLICA_DISPERSION
    replicas = median([float(one) for one, _ in pairs]) * token_ttl / 3600
    return len(dispersions) >= thresholds.MIN_DISPERSION_PAIRS and is_steady and replicas <= thresholds.MAX_REPLICAS


def _candidates_since(query: FindingsQuery) -> date:
    days = min(max(query.days, thresholds.MIN_UNCACHED_DAYS_READ), thresholds.MAX_UNCACHED_DAYS_READ)
    return query.until - timedelta(days=days)


def _first_day(query: FindingsQuery) -> date:
    """The first of a month, so a habit that began earlier keeps one start date for a month."""
    return (_candidates_since(query).replace(day=1) - timedelta(days=1)).replace(day=1)


def _finding(days: list[CostlyDay], is_old: bool, row: Any, query: FindingsQuery) -> Finding:
    declared = row.expected_replicas
    tokens, fewest = sum(day.tokens for day in days), sum(day.fewest for day in days)
    replicas = f"{declared or 0:,} declared {'replica' if declared == 1 else 'replicas'}"
    begins, ends = (instant(_first_day(query), day * DAY) for day in (days[0].day, days[-1].day + 1))
    is_new = not is_old and query.at - begins <= timedelta(days=thresholds.NEW_HABIT_DAYS)
    is_news = is_new and len(days) >= thresholds.MIN_UNCACHED_WARNING_DAYS
    is_gross = tokens > thresholds.UNCACHED_WARNING_FACTOR * fewest
    return Finding(
        kind="uncached_tokens",
        severity=Severity.warning if is_gross and is_news else Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=begins,
        ends=min(query.at, ends),
        unit="tokens",
        observed=tokens,
        expected=fewest,
        excess=tokens - fewest,
        baseline=f"one each {query.token_ttl} seconds in its active hours" + (f", for {replicas}" if declared else ""),
        summary=f"{row.agent_name} was issued {tokens:,} tokens on {len(days)} days; "
        f"{f'its {replicas}' if declared else 'it'} needed {fewest:,}.",
        causes="It asks for a new token before each call instead of keeping the one that it has, or "
        + ("more instances of it run than are declared." if declared else "very many instances of it run."),
        next_step=f"Make it keep its token for the {query.token_ttl} seconds of expires_in, which would have saved "
        f"{tokens - fewest:,} tokens. If its instances are short-lived, let them share one. If many instances run, "
        "declare how many: agentidp agent update --expected-replicas.",
    )


KIND = Kind(
    call=call,
    findings=findings,
    absorbs=("spike", "weekend"),
    ends_after=timedelta(days=3),
    has_marked_cause=True,
    is_about_tokens=True,
    cause_rank=1,
)
