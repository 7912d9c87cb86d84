"""``dominance``: one agent takes more than its share of the month's tokens.

Statistic: its share of the tokens of the month to date, and of the week before it while the month is younger than that.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, FindingsQuery, Severity


def call(query: FindingsQuery) -> Call:
    """The agent above the share, if there is one."""
    return Call(
        "findings/dominance",
        {
            "first_day": first_day(query.today),
            "until": query.until,
            "percent": query.dominance_percent,
            "min_tokens": thresholds.MIN_DOMINANCE_TOKENS,
        },
    )


def first_day(today: date) -> date:
    """The first of the month; in its first week, a week before that.

    Otherwise the only job of the first night would dominate the month.
    """
    first = today.replace(day=1)
    return first if today.day > thresholds.DOMINANCE_DAYS else first - timedelta(days=thresholds.DOMINANCE_DAYS)


def excess_tokens(tokens: int, all_tokens: int, percent: int) -> float:
    """How many of its tokens an agent must not have been issued to have no more than its share."""
    return (100 * tokens - percent * all_tokens) / (100 - percent)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """At most one."""
    return [
        Finding(
            kind="dominance",
            severity=Severity.warning,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            begins=datetime.combine(first_day(query.today), time(), UTC),
            ends=query.at,
            unit="percent of the month's tokens",
            observed=round(100 * row.tokens / row.all_tokens, 1),
            expected=query.dominance_percent,
            excess=excess_tokens(row.tokens, row.all_tokens, query.dominance_percent),
            baseline="the share that one agent may have, a parameter",
            summary=f"{row.agent_name} was issued {row.tokens:,} of the {row.all_tokens:,} tokens "
            + ("of this month." if first_day(query.today).day == 1 else f"since {first_day(query.today)}."),
            causes="It probably asks for a new token before each call instead of keeping the one it has.",
            next_step="Check whether it keeps its token for expires_in seconds, and how many instances of it run.",
        )
        for row in rows
    ]
