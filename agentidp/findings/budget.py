"""``budget``: the month's tokens against what the organization means to spend, and where the month will end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, number_of
from agentidp.findings.finding import Finding, FindingsQuery, Severity


@dataclass(frozen=True, kw_only=True)
class BudgetStatus:
    """An organization's UTC calendar month.

    ``budget`` is in tokens, ``None`` if there is none; ``tokens`` are those of the month so far, ``percent`` how much
    of the budget they are; ``forecast`` is the whole month's; ``crosses_on`` the day on which the sum of the month
    exceeds the budget, gone by or to come, if there is one.
    """

    budget: int | None
    tokens: int
    percent: float | None
    forecast: int
    crosses_on: date | None


def status(run: Callable[..., list[Rows]], at: datetime) -> BudgetStatus:
    """The month of *at*, also where no budget is set.

    :param run: as in :func:`agentidp.findings.findings`.
    :param at: now, aware.
    """
    [[row]] = run(_call(at))
    return _status(row)


def call(query: FindingsQuery) -> Call:
    """The month, with or without a budget."""
    return _call(query.at)


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """At most one."""
    found = []
    for row in rows:
        now = _status(row)
        if now.budget is None:
            continue
        is_exceeded = now.tokens > now.budget
        is_near = now.tokens * 100 >= now.budget * thresholds.BUDGET_NEAR_PERCENT
        has_history = row.days_of_history >= thresholds.MIN_BUDGET_DAYS
        if is_exceeded or is_near or (now.crosses_on is not None and has_history):
            found.append(
                Finding(
                    kind="budget",
                    severity=Severity.critical if is_exceeded else Severity.warning,
                    begins=datetime.combine(row.month_begins, time(), UTC),
                    ends=datetime.combine(row.month_ends, time(), UTC),
                    unit="tokens in the month",
                    observed=now.tokens,
                    expected=now.budget,
                    baseline="the organization's budget of a month",
                    summary=_summary(now, now.budget),
                    causes="There is more work than the budget was made for, or an agent asks for more tokens than it "
                    "needs.",
                    next_step="See which agents were issued the most this month, and whether other findings name them.",
                )
            )
    return found


def _call(at: datetime) -> Call:
    return Call("findings/budget", {"at": at, "weeks": thresholds.BUDGET_WEEKS})


def _status(row: Any) -> BudgetStatus:
    budget, tokens = row.budget, row.tokens
    percent = None if budget is None else round(100 * tokens / budget, 1)
    return BudgetStatus(budget=budget, tokens=tokens, percent=percent, forecast=row.forecast, crosses_on=row.crosses_on)


def _summary(now: BudgetStatus, budget: int) -> str:
    tokens, percent, of_budget = f"{now.tokens:,}", f"{now.percent:,.15g} %", f"budget of {number_of(budget, 'token')}"
    exceeded_on = None if now.crosses_on is None else day_in_words(now.crosses_on)
    if now.tokens > budget:
        return (
            f"The month's {of_budget} was exceeded on {exceeded_on}: {tokens} ({percent}) so far; the forecast is "
            f"{now.forecast:,}."
        )
    outlook = f"and the budget will be exceeded on {exceeded_on}" if exceeded_on else "within the budget"
    return (
        f"{tokens} of the month's {of_budget} {'has' if now.tokens == 1 else 'have'} been issued so far ({percent}); "
        f"the forecast is {now.forecast:,}, {outlook}."
    )
