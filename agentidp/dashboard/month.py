"""``/dashboard/month``: a calendar month for the owner of the budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import accumulate
from typing import Any
from uuid import UUID

from flask import Response, g

from agentidp.audit import ACTIONS
from agentidp.audit.reading import build_list_call, represent_rows
from agentidp.caller import Caller
from agentidp.dashboard import charts, counts, pages, session
from agentidp.dashboard.comparison import Comparison
from agentidp.dashboard.counts import DayUsage, Pair
from agentidp.dashboard.headline import build_headline, compare_counts, pair_days
from agentidp.dashboard.page_findings import read_page_findings
from agentidp.dashboard.period import DAY, Period, parse_period
from agentidp.db.sql import Call
from agentidp.findings import budget
from agentidp.registry.markers import MAX_LISTED

MAX_ROWS = 20
"""Maximum number of owners and of agents in the tables. One more row has the tokens of all others."""

MAX_FINDINGS = 5
"""Maximum number of findings that the page lists."""

MAX_EVENTS = 1000
"""Maximum number of audit events that the page reads."""

LEFT_OUT = ("finding", "marker", "person", "grant")
"""Types of subjects whose audit events are left out: they do not change the fleet, or the page shows them elsewhere."""

LEFT_OUT_ACTIONS = ("signed", "sign_in", "link", "token_issued", "token_revoked")
"""Parts of the names of actions that are left out, because they do not change an agent."""

MEMBER = "monthlyTokenBudget"


@dataclass(frozen=True, slots=True)
class Share:
    """The tokens of an owner or of an agent.

    :param label: the name of the owner or agent; empty for agents without an owner, ``None`` for all others together.
    :param tokens: the tokens on all days of the month.
    :param compared: the tokens on the compared days of the month.
    :param earlier: the tokens on the days a month before the compared days.
    """

    label: str | None
    agent_id: UUID | None
    tokens: int
    compared: int
    earlier: int


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a month.

    :param is_known: whether the audit trail shows what the budget was.
    :param tokens: the budget at the end of the month, or now in the current month; ``None`` without a budget.
    :param now: the budget now.
    :param exceeded_on: the day on which the tokens exceeded the budget.
    """

    is_known: bool
    tokens: int | None
    now: int | None
    exceeded_on: date | None


@pages.blueprint.get("/dashboard/month")
@session.required
def show_month(caller: Caller) -> Response:
    """Show the budget and the tokens of a month, their change since the month before, and the events of the month."""
    at = caller.at.astimezone(UTC)
    period = _read_month(at)
    comparison = Comparison(period, "month")
    day_rows, earlier_rows, first_usage_rows = caller.read_together(
        Call("analytics/usage_by_day", period.bounds),
        Call("analytics/usage_by_day", comparison.bounds),
        Call("dashboard/first_usage", {}),
    )
    first_usage_day = first_usage_rows[0].on_day if first_usage_rows else None
    days = counts.build_days(day_rows)
    pairs = pair_days(period, counts.match_days(counts.build_days(earlier_rows), comparison, first_usage_day), days)
    return pages.page(
        "month.html",
        slow_part=lambda: _read_page(caller, period, pairs, days, at),
        here="month",
        period=period,
        pairs=pairs,
        figures=build_headline(period, pairs, days, None, at),
    )


def _read_month(at: datetime) -> Period:
    """Return the month that the request has chosen, or in which the chosen days end, until today."""
    requested_period = parse_period(at)
    first_day = requested_period.last.replace(day=1)
    last_day = (first_day + 31 * DAY).replace(day=1) - DAY
    return Period(first_day, min(last_day, requested_period.today), requested_period.today, f"month={first_day:%Y-%m}")


def _read_page(caller: Caller, period: Period, pairs: list[Pair], days: list[DayUsage], at: datetime) -> dict[str, Any]:
    owners, agents = _read_shares(caller, period, pairs)
    may_see_changes = g.viewer.may("audit:read")
    month_begin, month_end = (datetime.combine(day, time(), UTC) for day in (period.first, period.last + DAY))
    [organization], budget_rows, later_rows, earlier_rows, markers, *changes = caller.read_together(
        Call("organizations/get_organization", {}),
        budget.build_call(),
        _events_call(since=month_end, until=None, action="organization.changed"),
        _events_call(since=None, until=month_end, limit=1),
        Call("markers/list_markers", {"limit": MAX_LISTED}),
        *([_events_call(since=month_begin, until=month_end)] if may_see_changes else []),
    )
    limit_now = organization.monthly_token_budget
    is_known = period.is_running or (bool(earlier_rows) and len(later_rows) <= MAX_EVENTS)
    limit = limit_now if period.is_running else find_budget_before(represent_rows(later_rows), limit_now)
    totals = list(accumulate(day.tokens for day in days))
    findings = read_page_findings(caller, period)
    if not is_known:
        # The audit events do not show the budget of the month here, but a finding about the budget contains it.
        budgets = [finding.expected for finding in findings.listed if finding.kind == "budget"]
        is_known, limit = bool(budgets), int(budgets[0]) if budgets else None
    exceeded_on = next((day.day for day, total in zip(days, totals, strict=True) if limit and total > limit), None)
    return {
        "owners": owners,
        "agents": agents,
        "budget": Budget(is_known, limit if is_known else None, limit_now, exceeded_on if is_known else None),
        "running": budget_rows[0] if period.is_running else None,
        "issued": totals[-1],
        "growth": charts.draw_chart(
            [(day.day, total) for day, total in zip(days, totals, strict=True)],
            {},
            period.today,
            period.today,
            [limit] * len(days),
        ),
        "page_findings": findings,
        "max_findings": MAX_FINDINGS,
        "markers": charts.place_markers(markers, period.first, period.last),
        "changes": _count_changes(represent_rows(changes[0])) if may_see_changes else None,
        "change": compare_counts,
        "has_all_changes": not may_see_changes or len(changes[0]) <= MAX_EVENTS,
    }


def _events_call(
    *, since: datetime | None, until: datetime | None, action: str | None = None, limit: int = MAX_EVENTS + 1
) -> Call:
    return build_list_call(below=None, actor=None, action=action, subject=None, since=since, until=until, limit=limit)


def find_budget_before(events: list[dict[str, Any]], now: int | None) -> int | None:
    """Return the budget before the earliest event that changed the budget, or *now* if no event changed it.

    :param events: the changes of the organization, newest first.
    """
    former_budgets = [event["before"][MEMBER] for event in events if MEMBER in (event["before"] or {})]
    return former_budgets[-1] if former_budgets else now


def _count_changes(events: list[dict[str, Any]]) -> list[tuple[str, int, datetime]]:
    """Return, per action, a sentence, the number and the latest time of its events; the most frequent action first."""
    counts_by_action: Counter[str] = Counter()
    latest_at: dict[str, str] = {}
    for event in events[:MAX_EVENTS]:
        subject, _, change_name = event["action"].partition(".")
        if subject not in LEFT_OUT and not any(omitted_action in change_name for omitted_action in LEFT_OUT_ACTIONS):
            counts_by_action[event["action"]] += 1
            latest_at.setdefault(event["action"], event["at"])
    return [
        (ACTIONS[action].description.partition(". ")[0].rstrip("."), count, datetime.fromisoformat(latest_at[action]))
        for action, count in counts_by_action.most_common()
    ]


def _read_shares(caller: Caller, period: Period, pairs: list[Pair]) -> tuple[list[Share], list[Share]]:
    """Return the tokens of a month by owner and by agent, most tokens first."""
    # Only the last days of a month can lack a day to compare with, so the days of the pairs are consecutive.
    day_ranges = [(pairs[0][0].day, pairs[-1][0].day), (pairs[0][1].day, pairs[-1][1].day)] if pairs else []
    calls = [
        Call("analytics/agent_usage", {"first": first_day, "last": last_day, "with_names": False, "limit": None})
        for first_day, last_day in [(period.first, period.last), *day_ranges]
    ]
    counts_by_agent = [{UUID(row.agent_id): row.token_count for row in rows} for rows in caller.read_together(*calls)]
    tokens, compared, earlier = [*counts_by_agent, {}, {}][:3]
    agent_ids = list(tokens | earlier)
    [rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": agent_ids}))
    agent_shares = [
        Share(row.name, row.agent_id, *(counts.get(row.agent_id, 0) for counts in (tokens, compared, earlier)))
        for row in rows
    ]
    owners_by_id = {row.agent_id: row.owner for row in rows}
    shares_by_owner: dict[str, list[Share]] = {}
    for agent_share in agent_shares:
        shares_by_owner.setdefault(owners_by_id[agent_share.agent_id], []).append(agent_share)
    owner_shares = [_sum_shares(owner, shares) for owner, shares in shares_by_owner.items()]
    return _select_largest(owner_shares), _select_largest(agent_shares)


def _select_largest(shares: list[Share]) -> list[Share]:
    """Return the largest shares, and one share with the sum of all others."""
    sorted_shares = sorted(shares, key=lambda share: (-share.tokens, -share.earlier, share.label, str(share.agent_id)))
    small_shares = sorted_shares[MAX_ROWS:]
    return sorted_shares[:MAX_ROWS] + ([_sum_shares(None, small_shares)] if small_shares else [])


def _sum_shares(label: str | None, shares: list[Share]) -> Share:
    amount_names = ("tokens", "compared", "earlier")
    return Share(label, None, *(sum(getattr(share, amount_name) for share in shares) for amount_name in amount_names))
