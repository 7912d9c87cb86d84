"""``zero_day``: a day without issuance amid active ones.

The quiet hours of such a day are reported here and not by ``silence``, unless they still last.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings.finding import Finding, FindingsQuery, Severity

WEEKS = 8
"""Weeks before a day whose same weekday says what is usual."""

MIN_WEEKS = 3
"""Of these weeks in which the organization must have been at work already."""

MIN_TOKENS = 20
"""The median of the weekday: fewer may be missing by chance."""


def call(query: FindingsQuery) -> Call:
    """Completed days without a token that usually have some."""
    return Call(
        "findings/zero_day",
        {"days": query.days, "weeks": WEEKS, "min_weeks": MIN_WEEKS, "min_tokens": MIN_TOKENS},
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each day, or for several in a row."""
    return [
        Finding(
            kind="zero_day",
            severity=Severity.warning,
            begins=_midnight(row.first_day),
            ends=_midnight(row.last_day + timedelta(days=1)),
            unit="tokens a day",
            observed=0,
            expected=row.usual,
            baseline=f"the median of the same weekday in up to {WEEKS} weeks before",
            summary=f"No token was issued {_days(row.first_day, row.last_day)}; "
            f"typically {row.usual:,.0f} are issued a day.",
            causes="A deployment that broke issuance, or an outage of the service or of all agents; where nobody works"
            " on a public holiday, that.",
            next_step="See what was deployed or changed at its beginning, and the service's log of that time.",
        )
        for row in rows
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days(first: date, last: date) -> str:
    if first == last:
        return f"on {_day(first)}"
    return f"from {_day(first)} to {_day(last)}"


def _day(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B %Y}"
