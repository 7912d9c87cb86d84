"""``uncached_tokens``: an agent asks for many times the tokens that it needs, day after day.

Statistic: the tokens issued against the tokens needed, one a lifetime in each run of active hours for each replica that
is declared; and if none are, the index of dispersion of the hours, which distinguishes instances that keep their tokens
from calls that each ask for one.

It is a warning while it is news: in the first two weeks of the habit, or after its waste has multiplied. What an agent
has done for longer is probably by design, and is listed with what could be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.history import DAY, hourly, hours_until, instant, median


@dataclass(frozen=True)
class CostlyDay:
    """A day with far more tokens than needed; the hours of the first and the last that cost too much."""

    day: int
    tokens: int
    fewest: int
    first_hour: int
    last_hour: int


@dataclass(frozen=True)
class Habit:
    """Costly days in a row, among those on which the agent was active; ``is_old`` if it had the habit before, too."""

    days: tuple[CostlyDay, ...]
    is_old: bool = False

    @property
    def tokens(self) -> int:
        """Tokens issued on them."""
        return sum(day.tokens for day in self.days)

    @property
    def is_gross(self) -> bool:
        """Whether it is worth a warning while it is news."""
        return self.tokens > thresholds.UNCACHED_WARNING_FACTOR * self.fewest

    @property
    def fewest(self) -> int:
        """Tokens that would have done."""
        return sum(day.fewest for day in self.days)


def call(query: FindingsQuery) -> Call:
    """The histories of the agents that may have the habit."""
    days = min(max(query.days, thresholds.MIN_UNCACHED_DAYS_READ), thresholds.MAX_UNCACHED_DAYS_READ)
    return Call(
        "findings/uncached_tokens",
        {
            "first_day": _first_day(query),
            "since": query.until - timedelta(days=days),
            "until": query.until,
            "token_ttl": query.token_ttl,
            "factor": thresholds.UNCACHED_FACTOR,
            "min_tokens": thresholds.MIN_UNCACHED_TOKENS,
            "min_days": thresholds.MIN_UNCACHED_DAYS,
            "max_agents": thresholds.MAX_UNCACHED_SUSPECTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One an agent, those that waste the most."""
    first_day = _first_day(query)
    length = hours_until(query.at, first_day)
    since = (query.since - first_day).days
    found = []
    for row in rows:
        tokens = hourly(((day, of_day) for day, of_day, _ in row.history), length)
        requests = hourly(((day, of_day) for day, _, of_day in row.history), length)
        habit = habit_of(tokens, requests, query.token_ttl, since, row.expected_replicas)
        if habit is not None:
            found.append((habit, row))
    found.sort(key=lambda each: (each[0].fewest - each[0].tokens, str(each[1].agent_id)))
    return [_finding(habit, row, first_day, query) for habit, row in found[: thresholds.MAX_UNCACHED_AGENTS]]


def habit_of(
    tokens: Sequence[int], requests: Sequence[int], token_ttl: int, since: int, declared: int | None = None
) -> Habit | None:
    """The latest habit that reaches into the days from *since* on, unless replicas that keep their tokens explain it.

    :param token_ttl: a token's lifetime in seconds.
    :param declared: how many replicas are; otherwise they are estimated.
    """
    groups: list[list[CostlyDay]] = [[]]
    active: list[int] = []
    for day in range(-(-len(requests) // DAY)):
        hours = range(day * DAY, min((day + 1) * DAY, len(requests)))
        if not any(requests[hour] for hour in hours):
            continue
        active.append(day)
        costly = costly_day(tokens, requests, hours, token_ttl, declared or 1)
        if costly:
            groups[-1].append(costly)
        elif groups[-1]:
            groups.append([])
    while groups:
        group = groups.pop()
        before = [day for each in groups for day in each]
        days = min(newest_part([*before, *group]), group, key=len)
        if (
            len(days) >= thresholds.MIN_UNCACHED_DAYS
            and days[-1].day >= since
            and (declared or not are_replicas(tokens, days, token_ttl))
        ):
            days_before = sum(1 for day in active if day < days[0].day)
            is_old = days == group and len(before) >= max(thresholds.MIN_OLD_HABIT_DAYS, days_before / 2)
            return Habit(tuple(days), is_old)
    return None


def newest_part(days: list[CostlyDay]) -> list[CostlyDay]:
    """The last days of a habit if the waste of each is a multiple of what it was before; otherwise all of them."""
    waste = [day.tokens / day.fewest for day in days]
    begins = max(len(days) - thresholds.NEW_HABIT_DAYS, thresholds.MIN_OLD_HABIT_DAYS)
    for place in range(begins, len(days) - thresholds.MIN_UNCACHED_DAYS + 1):
        if min(waste[place:]) > thresholds.NEW_HABIT_TIMES * median(waste[:place]):
            return days[place:]
    return days


def costly_day(
    tokens: Sequence[int], requests: Sequence[int], hours: range, token_ttl: int, replicas: int
) -> CostlyDay | None:
    """The day of the *hours*, if it has far more tokens than needed, and not in a few of its active hours only."""
    active = [hour for hour in hours if requests[hour]]
    costly = [hour for hour in active if tokens[hour] * token_ttl > thresholds.UNCACHED_FACTOR * 3600 * replicas]
    issued, fewest = sum(tokens[hour] for hour in active), fewest_tokens(active, token_ttl) * replicas
    is_costly = issued >= thresholds.MIN_UNCACHED_TOKENS and issued > thresholds.UNCACHED_FACTOR * fewest
    if not is_costly or not costly or 2 * len(costly) < len(active):
        return None
    return CostlyDay(hours.start // DAY, issued, fewest, costly[0], costly[-1])


def fewest_tokens(active: Sequence[int], token_ttl: int) -> int:
    """One token a lifetime in each run of active hours; a token outlives the idle hours between two runs."""
    step = max(token_ttl // 3600, 1)
    fewest, begins = 0, 0
    for place, hour in enumerate(active):
        if place + 1 == len(active) or active[place + 1] - hour > step:
            fewest += ceil((hour - active[begins] + 1) * 3600 / token_ttl)
            begins = place + 1
    return fewest


def are_replicas(tokens: Sequence[int], days: Sequence[CostlyDay], token_ttl: int) -> bool:
    """Whether instances that keep their tokens explain the days: these ask in turn, so the hours hardly differ.

    Of tokens that outlive the hour nothing is known: when they are renewed, the hours do not show.
    """
    if token_ttl > 3600:
        return False
    issued, dispersions = [], []
    for day in days:
        for hour in range(day.first_hour, day.last_hour):
            one, other = tokens[hour], tokens[hour + 1]
            issued.append(float(one))
            if one or other:
                dispersions.append((one - other) ** 2 / (one + other))
    is_steady = median(dispersions) <= thresholds.MAX_REPLICA_DISPERSION
    replicas = median(issued) * token_ttl / 3600
    return len(dispersions) >= thresholds.MIN_DISPERSION_PAIRS and is_steady and replicas <= thresholds.MAX_REPLICAS


def _first_day(query: FindingsQuery) -> date:
    """The first of a month, so that what began before seems to begin on the same day for a month."""
    days = min(max(query.days, thresholds.MIN_UNCACHED_DAYS_READ), thresholds.MAX_UNCACHED_DAYS_READ)
    return ((query.until - timedelta(days=days)).replace(day=1) - timedelta(days=1)).replace(day=1)


def _finding(habit: Habit, row: Any, first_day: date, query: FindingsQuery) -> Finding:
    tokens, fewest, declared = habit.tokens, habit.fewest, row.expected_replicas
    replicas = "1 declared replica" if declared == 1 else f"{declared or 0:,} declared replicas"
    begins = instant(first_day, habit.days[0].day * DAY)
    is_news = not habit.is_old and query.at - begins <= timedelta(days=thresholds.NEW_HABIT_DAYS)
    return Finding(
        kind="uncached_tokens",
        severity=Severity.warning if habit.is_gross and is_news else Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=begins,
        ends=min(query.at, instant(first_day, (habit.days[-1].day + 1) * DAY)),
        unit="tokens",
        observed=tokens,
        expected=fewest,
        excess=tokens - fewest,
        baseline=f"one each {query.token_ttl} seconds in its active hours" + (f", for {replicas}" if declared else ""),
        summary=f"{row.agent_name} was issued {tokens:,} tokens on {len(habit.days)} days; "
        f"{f'its {replicas}' if declared else 'it'} needed {fewest:,}.",
        causes="It asks for a new token before each call instead of keeping the one that it has, or "
        + ("more instances of it run than are declared." if declared else "very many instances of it run."),
        next_step=f"Make it keep its token for the {query.token_ttl} seconds of expires_in, which would have saved "
        f"{tokens - fewest:,} tokens. If its instances are "
        "short-lived, let them share one. If many instances run, declare how many: "
        "agentidp agent update --expected-replicas.",
    )
