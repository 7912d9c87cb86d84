"""``budget``: the month's tokens compared with the organization's budget, and a forecast for the whole month."""

from __future__ import annotations

from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import instant
from agentidp.http.text import format_count


def build_call(query: FindingsQuery | None = None) -> Call:
    return Call("findings/budget", {"weeks": thresholds.BUDGET_WEEKS, "near_percent": thresholds.BUDGET_NEAR_PERCENT})


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding if the budget is nearly used up, or if the forecast from at least a week of usage exceeds it."""
    return [
        _make_finding(row)
        for row in rows
        if row.budget is not None
        and (_is_near(row) or (row.crosses_on and row.days_of_history >= thresholds.MIN_BUDGET_DAYS))
    ]


def format_used_percent(row: Any) -> str:
    """Return the used share of the budget, such as ``54 %``, or ``less than 0.1 %``."""
    if 0 < 2000 * row.tokens < row.budget:
        return "less than 0.1 %"
    return f"{round(100 * row.tokens / row.budget, 1):,.15g} %"


def _is_near(row: Any) -> bool:
    return bool(row.tokens * 100 >= row.budget * thresholds.BUDGET_NEAR_PERCENT)


def _make_finding(row: Any) -> Finding:
    is_exceeded = row.tokens > row.budget
    if row.crosses_on:
        verdict_words = f"{'was' if is_exceeded else 'will be'} exceeded on {day_in_words(row.crosses_on)}"
    else:
        verdict_words = "is nearly used" if row.tokens < row.budget else "is used up"
    crossing_day = row.crosses_on if is_exceeded else row.near_on if _is_near(row) else None
    return Finding(
        kind="budget",
        severity=Severity.critical if is_exceeded else Severity.warning,
        begins=instant(row.month_begins, 0),
        ends=instant(row.month_ends, 0),
        since=instant(crossing_day, 0) if crossing_day else None,
        unit="tokens in the month",
        observed=row.tokens,
        expected=row.budget,
        baseline="the organization's monthly budget",
        summary=f"The month's budget of {format_count(row.budget, 'token')} {verdict_words}: {row.tokens:,} "
        f"({format_used_percent(row)}) so far; the forecast is {row.forecast:,}.",
        causes="There is more work than the budget was made for, or an agent asks for more tokens than it needs.",
        next_step="See which agents were issued the most this month, and whether other findings name them.",
    )


KIND = Kind(build_call, compute_findings, is_about_tokens=True, names_contributors=True)
