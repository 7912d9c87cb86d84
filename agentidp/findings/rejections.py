"""``rejections``: an agent fails to authenticate far more often than it usually does."""

from __future__ import annotations

from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import Finding, Look, Severity

PAST_DAYS = 28
"""Days before a day that make its baseline."""

LEAST = 15
"""Rejected requests of an agent on a UTC day: fewer are a handful."""

LEAST_NEW = 100
"""The same of an agent that is new: what is usual for it is not known yet."""

SETTLED_DAYS = 7
"""Days since the first one of the baseline on which anything of it was counted: with fewer it is new."""

TIMES = 3
"""Its day must have more than this many times the third quartile of the baseline's days."""


def call(look: Look) -> Call:
    """The runs of days on which an agent was rejected far more often than usual."""
    return Call(
        "findings/rejections",
        {
            "days": look.days,
            "past_days": PAST_DAYS,
            "least": LEAST,
            "least_new": LEAST_NEW,
            "settled_days": SETTLED_DAYS,
            "times": TIMES,
        },
    )


def findings(rows: Rows, look: Look) -> list[Finding]:
    """One for each run of days."""
    return [
        Finding(
            kind="rejections",
            severity=Severity.critical if row.is_active and not row.tokens else Severity.warning,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            begins=row.begins,
            ends=min(row.ends, look.at),
            unit="rejected requests",
            observed=row.rejected,
            expected=row.usual,
            baseline=f"a day's rejected requests, exceeded on at most a quarter of the {PAST_DAYS} days before",
            **_words(row),
        )
        for row in rows
    ]


def _words(row: Any) -> dict[str, Any]:
    seen = f"{row.rejected:,} requests of {row.agent_name} failed to authenticate"
    if not row.is_active:
        return {
            "summary": f"{seen}, and it is suspended or deleted.",
            "causes": "Something still uses its credential or its tokens.",
            "next_step": "Find out from where the requests come, and stop what makes them.",
        }
    if row.tokens:
        return {
            "summary": f"{seen}, while it was still issued {row.tokens:,} tokens.",
            "causes": "An instance of it still has an old secret or tokens that are no longer valid, or somebody is "
            "guessing its secret.",
            "next_step": "See from where the requests come: if from its own instances, give all of them the new "
            "secret; if not, rotate it.",
        }
    return {
        "summary": f"{seen}, and no token was issued to it meanwhile.",
        "causes": "Its secret was probably rotated, or has expired, and the new one was not rolled out.",
        "next_step": "See which of its credentials are valid, and give its instances a valid one.",
    }
