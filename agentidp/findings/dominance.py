"""``dominance``: one agent takes more than its share of the month's tokens.

Statistic: its share of the tokens of the month to date, and of the week before it while the month is younger than that.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity


def call(query: FindingsQuery) -> Call:
    """The agent with the most tokens, and the tokens of all."""
    days = {"first_day": first_day(query.today), "until": query.until}
    return Call("analytics/agent_usage", days | {"with_names": True, "limit": 1})


def first_day(today: date) -> date:
    """The first of the month; in its first week, a week before that.

    Otherwise the only job of the first night would dominate the month.
    """
    first = today.replace(day=1)
    return first if today.day > thresholds.DOMINANCE_DAYS else first - timedelta(days=thresholds.DOMINANCE_DAYS)


def is_dominant(tokens: int, all_tokens: int, percent: int) -> bool:
    """Whether an agent has more than its share: never the only one with tokens, and not of a few tokens."""
    is_only_one = tokens == all_tokens
    return not is_only_one and all_tokens >= thresholds.MIN_DOMINANCE_TOKENS and tokens * 100 > all_tokens * percent


def excess_tokens(tokens: int, all_tokens: int, percent: int) -> float:
    """How many of its tokens an agent must not have been issued to have no more than its share."""
    return (100 * tokens - percent * all_tokens) / (100 - percent)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """At most one."""
    return [
        Finding(
            kind="dominance",
            severity=Severity.warning,
            agent_id=UUID(row.agent_id),
            agent_name=row.agent_name,
            begins=datetime.combine(first_day(query.today), time(), UTC),
            ends=query.at,
            unit="percent of the month's tokens",
            observed=round(100 * row.token_count / row.all_tokens, 1),
            expected=query.dominance_percent,
            excess=excess_tokens(row.token_count, row.all_tokens, query.dominance_percent),
            baseline="the share that one agent may have, a parameter",
            summary=f"{row.agent_name} was issued {row.token_count:,} of the {row.all_tokens:,} tokens "
            + _period(first_day(query.today)),
            causes="It probably asks for a new token before each call instead of keeping the one it has.",
            next_step="Check whether it keeps its token for expires_in seconds, and how many instances of it run.",
        )
        for row in rows
        if is_dominant(row.token_count, row.all_tokens, query.dominance_percent)
    ]


def _period(first: date) -> str:
    return "of this month." if first.day == 1 else f"since {day_in_words(first)}."
