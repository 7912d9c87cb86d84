"""``weekend``: activity on days that are usually quiet, with the agents behind it.

An agent that works once or twice a week has no quiet days that it could break: a weekly job that moves from Sunday to
Saturday is not found, and neither is one more day of an agent that works on less than half of its other days.

A day is one of UTC, and to an agent in the west Saturday begins on Friday evening. It still rests for most of it, and
what it does then is judged by the hours of that rest.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import MOST_AGENTS, BehindIt, Finding, Look, Severity

WEEKS = 8
"""Weeks before a day that say what is usual."""

LEAST_WEEKS = 3
"""Of these weeks in which an agent must have been at work already."""

MOST_DAYS = 28
"""Days back at the most: with 10,000 agents a weekend costs some 60 ms, and an older one is no news."""

QUIET_WEEKDAYS = 2
"""Weekdays of an organization that are looked at: those on which it is usually issued less than half of the average,
and Saturday and Sunday where these are fewer."""

QUIET_PERCENT = 25
"""Of an agent's average over the other weekdays: a weekday with no more is quiet, and so much more is activity."""

PART_PERCENT = 50
"""Of that average: a weekday with no more is quiet for the most part, and judged by the hours that usually are."""

LEAST_REQUESTS = 10
"""More than usual: fewer are a handful."""


def call(look: Look) -> Call:
    """Runs of days on which agents worked that usually do not."""
    return Call(
        "findings/weekend",
        {
            "days": min(look.days, MOST_DAYS),
            "weeks": WEEKS,
            "least_weeks": LEAST_WEEKS,
            "quiet_weekdays": QUIET_WEEKDAYS,
            "quiet_percent": QUIET_PERCENT,
            "part_percent": PART_PERCENT,
            "least_requests": LEAST_REQUESTS,
            "most_agents": MOST_AGENTS,
        },
    )


def findings(rows: Rows, look: Look) -> list[Finding]:
    """One for each day, or for several adjacent ones."""
    return [
        Finding(
            kind="weekend",
            severity=Severity.warning,
            agent_id=row.agent_ids[0] if row.agents == 1 else None,
            agent_name=row.names[0] if row.agents == 1 else None,
            begins=_midnight(row.first_day),
            ends=min(look.at, _midnight(row.last_day + timedelta(days=1))),
            unit="requests",
            observed=row.requests,
            expected=row.usual,
            baseline=f"the same weekday in up to {WEEKS} weeks before, the second busiest"
            + ("" if row.is_quiet else ", of its hours that are usually quiet where the day is not"),
            agents=tuple(
                BehindIt(agent_id=agent_id, agent_name=name, count=count)
                for agent_id, name, count in zip(row.agent_ids, row.names, row.counts, strict=True)
            ),
            summary=f"{_who(row.names, row.agents)} made {row.requests:,} requests {_days(row.first_day, row.last_day)}"
            f", {_usually(row)}.",
            causes="Work that was planned for these days, a schedule that was changed, or somebody else who uses the"
            " credentials.",
            next_step="Ask those who run these agents; if nobody knows of it, revoke their credentials.",
        )
        for row in rows
    ]


def _who(names: list[str], number: int) -> str:
    if number == 1:
        return names[0]
    return f"{names[0]} and {'another agent' if number == 2 else f'{number - 1:,} other agents'}"


def _usually(row: Any) -> str:
    if not row.is_quiet:
        return "in hours that are usually quiet"
    return f"usually {'a quiet day' if row.first_day == row.last_day else 'quiet days'}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days(first: date, last: date) -> str:
    return f"on {_day(first)}" if first == last else f"from {_day(first)} to {_day(last)}"


def _day(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B %Y}"
