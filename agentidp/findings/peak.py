"""``peak``: the busiest hours of the week, for which rate limits need headroom."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def call(query: FindingsQuery) -> Call:
    """The busiest hours of the week."""
    return Call(
        "findings/peak",
        {
            "weeks": thresholds.PEAK_WEEKS,
            "min_requests": thresholds.MIN_PEAK_REQUESTS,
            "max_hours": thresholds.MAX_PEAK_HOURS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """At most one."""
    if not rows:
        return []
    busiest, *others = rows
    next_to_it = ", then " + " and ".join(map(_hour_of_week, others)) if others else ""
    greatest_on = f"{_hour(busiest.greatest_hour)} on {day_in_words(busiest.greatest_day)}"
    return [
        Finding(
            kind="peak",
            severity=Severity.info,
            begins=datetime.combine(busiest.first_day, time(), UTC),
            ends=datetime.combine(busiest.today, time(), UTC),
            unit="requests a minute",
            observed=busiest.greatest_requests / 60,
            expected=busiest.mean_of_all / 60,
            baseline="the mean over all hours of the window",
            summary=f"The busiest hour of the week is {_hour_of_week(busiest)}, with {busiest.mean:,.0f} requests on "
            f"average ({_a_minute(busiest.mean)}){next_to_it}. The most in one hour were "
            f"{busiest.greatest_requests:,} ({_a_minute(busiest.greatest_requests)}), at {greatest_on}.",
            causes="This is how the fleet works: its agents are busy at the same time, or start at the same minute.",
            next_step="Leave headroom above the most that was seen: within an hour requests are not spread evenly.",
        )
    ]


def _hour_of_week(row: Any) -> str:
    return f"{DAYS[row.dow]} {_hour(row.hour)}"


def _hour(hour: int) -> str:
    return f"{hour:02}:00-{hour + 1:02}:00 UTC"


def _a_minute(requests: float) -> str:
    return f"{requests / 60:,.1f} a minute"
