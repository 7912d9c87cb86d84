"""``uncached_tokens``: an agent asks for many times the tokens that it needs, day after day."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import Finding, Look, Severity

FACTOR = 10
"""Times the fewest tokens that would do, up to which it may be that an agent has several instances, or needs tokens of
several scopes or for several resource servers."""

LEAST_TOKENS = 30
"""Of an agent on a day: below that, waste costs nothing. A job that starts anew each hour stays below it."""

LEAST_DAYS = 2
"""Days in a row, among those on which the agent was active: fewer are an incident and no habit."""

LEAST_SPAN = 20
"""Hours from the first costly hour to the last: an incident may run across midnight."""

LEAST_DAYS_READ, MOST_DAYS_READ = 7, 14
"""Days that are read, today included, where one looks at fewer or more: a habit that reaches into the days that one
looks at began before, and what has ended two weeks ago is no habit any more."""

MOST_LOOKED_INTO = 50
"""Agents whose hours are read, those with the most tokens on days that may be too costly: a bound on the work where a
whole fleet does not keep its tokens."""

MOST_AGENTS = 20
"""Agents that are named, those that waste the most."""


def call(look: Look) -> Call:
    """The agents with the habit."""
    return Call(
        "findings/uncached_tokens",
        {
            "days": look.days,
            "least_days_read": LEAST_DAYS_READ,
            "most_days_read": MOST_DAYS_READ,
            "token_ttl": look.token_ttl,
            "factor": FACTOR,
            "least_tokens": LEAST_TOKENS,
            "least_days": LEAST_DAYS,
            "least_span": LEAST_SPAN,
            "most_looked_into": MOST_LOOKED_INTO,
            "most": MOST_AGENTS,
        },
    )


def findings(rows: Rows, look: Look) -> list[Finding]:
    """One an agent."""
    return [
        Finding(
            kind="uncached_tokens",
            severity=Severity.warning,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            begins=datetime.combine(row.first_day, time(), UTC),
            ends=min(look.at, datetime.combine(row.last_day + timedelta(days=1), time(), UTC)),
            unit="tokens",
            observed=row.tokens,
            expected=row.fewest,
            baseline=f"one each {look.token_ttl} seconds in its active hours",
            summary=f"{row.agent_name} was issued {row.tokens:,} tokens on {row.days} days; {row.fewest:,} would do.",
            causes="It asks for a new token before each call instead of keeping the one that it has, or very many "
            "instances of it run.",
            next_step=f"Make it keep its token for the {look.token_ttl} seconds of expires_in. If its instances are "
            "short-lived, let them share one.",
        )
        for row in rows
    ]
