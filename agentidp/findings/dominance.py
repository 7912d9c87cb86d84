"""``dominance``: one of several agents was issued most of the month's tokens.

Statistic: the agent's share of the month's tokens so far. In the first week of a month, the last seven days of
the previous month count too. An organization with few tokens gets no finding.
"""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from agentidp.analytics.period import Period
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import instant


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the agent with the most tokens, and the number of tokens of all agents."""
    period = Period(first_day(query.today), query.today)
    return Call("analytics/agent_usage", period.bounds | {"with_names": True, "limit": 1})


def first_day(today: date) -> date:
    """Return the first day that counts: the first of the month or, in its first week, a week before the first."""
    # The week before counts, because a job in the month's first night would otherwise have nearly all tokens.
    first = today.replace(day=1)
    return first if today.day > thresholds.DOMINANCE_DAYS else first - timedelta(days=thresholds.DOMINANCE_DAYS)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a list with the finding about the agent that has most of the organization's tokens, or an empty list."""
    begins_on, max_percent = first_day(query.today), thresholds.MAX_DOMINANCE_PERCENT
    return [
        Finding(
            kind="dominance",
            severity=Severity.warning,
            agent_id=UUID(row.agent_id),
            agent_name=row.agent_name,
            begins=instant(begins_on, 0),
            ends=query.at,
            unit="percent of the month's tokens",
            observed=round(100 * row.token_count / row.all_tokens, 1),
            expected=max_percent,
            # The excess is the number of tokens without which the agent would have only the maximum share.
            excess=(100 * row.token_count - max_percent * row.all_tokens) / (100 - max_percent),
            baseline="the maximum share of one agent",
            summary=f"{row.agent_name} was issued {row.token_count:,} of the {row.all_tokens:,} tokens "
            + ("of this month" if begins_on.day == 1 else f"since {day_in_words(begins_on)}")
            + f" ({100 * row.token_count / row.all_tokens:.0f} %).",
            causes="The agent probably requests a new token before each call instead of keeping its token.",
            next_step="Check whether the agent keeps its token for expires_in seconds, and how many instances it has.",
        )
        for row in rows
        if thresholds.MIN_DOMINANCE_TOKENS <= row.all_tokens != row.token_count
        and row.token_count * 100 > max_percent * row.all_tokens
    ]


KIND = Kind(build_call, compute_findings, is_about_tokens=True)
