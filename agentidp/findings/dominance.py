"""``dominance``: one agent takes more than its share of the month's tokens."""

from __future__ import annotations

from datetime import UTC, datetime, time

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import Finding, Look, Severity

LEAST_TOKENS = 100
"""Of the organization in the month so far: below that a share says little."""


def call(look: Look) -> Call:
    """The agent above the share, if there is one."""
    return Call("findings/dominance", {"percent": look.dominance_percent, "least_tokens": LEAST_TOKENS})


def findings(rows: Rows, look: Look) -> list[Finding]:
    """At most one."""
    return [
        Finding(
            kind="dominance",
            severity=Severity.warning,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            begins=datetime.combine(look.at.date().replace(day=1), time(), UTC),
            ends=look.at,
            unit="percent of the month's tokens",
            observed=round(100 * row.tokens / row.all_tokens, 1),
            expected=look.dominance_percent,
            baseline="the share that one agent may have, a parameter",
            summary=f"{row.agent_name} was issued {row.tokens:,} of the {row.all_tokens:,} tokens of this month.",
            causes="It probably asks for a new token before each call instead of keeping the one it has.",
            next_step="See whether it keeps its token for expires_in seconds, and how many instances of it run.",
        )
        for row in rows
    ]
