"""``peak``: the busiest hours of the week, for which rate limits need headroom."""

from __future__ import annotations

from calendar import day_name
from datetime import timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import instant


def call(query: FindingsQuery) -> Call:
    """The busiest hours of the week."""
    limits = {"min_requests": thresholds.MIN_PEAK_REQUESTS, "max_hours": thresholds.MAX_PEAK_HOURS}
    return Call("findings/peak", limits | {"weeks": thresholds.PEAK_WEEKS})


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """At most one, about all the hours."""
    # PostgreSQL's weeks begin on Sunday, Python's on Monday.
    hours_of_week = [f"{day_name[row.dow - 1]} {_hour(row.hour)}" for row in rows]
    others = f"Next {'are' if len(rows) > 2 else 'is'} {in_words(hours_of_week[1:])}. " if len(rows) > 1 else ""
    return [
        Finding(
            kind="peak",
            severity=Severity.info,
            begins=instant(busiest.first_day, 0),
            ends=instant(busiest.today, 0),
            unit="requests a minute",
            observed=busiest.greatest_requests / 60,
            expected=busiest.mean_of_all / 60,
            baseline="the mean over all hours of the window",
            summary=f"The busiest hour of the week is {hours_of_week[0]}, with {busiest.mean:,.0f} requests on average "
            f"({busiest.mean / 60:,.1f} a minute). The most in one hour were {busiest.greatest_requests:,}, at "
            f"{_hour(busiest.greatest_hour)} on {day_in_words(busiest.greatest_day)}.",
            causes=f"{others}This is how the fleet works: its agents are busy at the same time, or start at the same "
            "minute.",
            next_step="Leave headroom above the most that was seen: within an hour requests are not spread evenly.",
        )
        for busiest in rows[:1]
    ]


def _hour(hour: int) -> str:
    return f"{hour:02}:00-{hour + 1:02}:00 UTC"


KIND = Kind(call=call, findings=findings, ends_after=timedelta(hours=36), counted="requests")
