"""``/dashboard/month``: a calendar month for the owner of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from agentidp.dashboard.page_findings import PageFindings, read_page_findings
from agentidp.dashboard.period import DAY, Period, parse_period
from agentidp.dashboard.quotas import REFUSAL_CALLS, find_refusing_quotas
from agentidp.db.sql import Call, Rows
from agentidp.findings import budget as budget_finding
from agentidp.registry.markers import MAX_LISTED

MAX_ROWS = 20
"""Maximum number of owners and of agents in the tables. One more row has the sum of the other owners or agents."""

MAX_FINDINGS = 5
"""Maximum number of findings that the page lists."""

MAX_EVENTS = 1000
"""Maximum number of audit events that the page reads."""

OMITTED_SUBJECTS = ("finding", "marker", "person", "grant")
"""Types of subjects whose audit events are not counted, because they change no agent or are shown elsewhere."""

OMITTED_WORDS = ("signed", "sign_in", "link", "token_issued", "token_revoked")
"""Words in the names of actions that are not counted, because these actions change no agent."""

BUDGET_MEMBER = "monthlyTokenBudget"


@dataclass(frozen=True, slots=True)
class Share:
    """The tokens of an owner or of an agent.

    :param label: the name of the owner or agent; empty for agents without an owner, ``None`` for all others together.
    :param compared_tokens: the tokens on the days of the month for which there is an earlier day.
    :param earlier_tokens: the tokens on these earlier days, a month before.
    """

    label: str | None
    agent_id: UUID | None
    tokens: int
    compared_tokens: int
    earlier_tokens: int


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a month.

    :param is_known: whether the organization's row, the audit trail or a finding shows the budget of the month.
    :param tokens: the budget at the end of the month, or now in the current month; ``None`` without a budget.
    :param now: the budget now; ``None`` without a budget.
    :param exceeded_on: the day on which the tokens exceeded the budget; ``None`` if they did not.
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
    day_rows, earlier_day_rows, first_usage_rows = caller.read_together(
        Call("analytics/usage_by_day", period.bounds),
        Call("analytics/usage_by_day", comparison.bounds),
        Call("dashboard/first_usage", {}),
    )
    first_usage_day = first_usage_rows[0].on_day if first_usage_rows else None
    days = counts.build_days(day_rows)
    pairs = pair_days(period, counts.match_days(counts.build_days(earlier_day_rows), comparison, first_usage_day), days)
    return pages.page(
        "month.html",
        slow_part=lambda: _read_slow_part(caller, period, pairs, days),
        here="month",
        period=period,
        pairs=pairs,
        figures=build_headline(period, pairs, days, None, at),
    )


def _read_month(at: datetime) -> Period:
    """Return the chosen month, or the month in which the chosen days end. Days after today are left out."""
    requested_period = parse_period(at)
    first_day = requested_period.last.replace(day=1)
    last_day = (first_day + 31 * DAY).replace(day=1) - DAY
    return Period(first_day, min(last_day, requested_period.today), requested_period.today, f"month={first_day:%Y-%m}")


def _read_slow_part(caller: Caller, period: Period, pairs: list[Pair], days: list[DayUsage]) -> dict[str, Any]:
    owner_shares, agent_shares = _read_token_shares(caller, period, pairs)
    rows_by_name = caller.read_by_name(_build_month_calls(period))
    findings = read_page_findings(caller, period)
    running_totals = list(zip((day.day for day in days), accumulate(day.tokens for day in days), strict=True))
    budget = _find_budget(period, rows_by_name, findings, running_totals)
    return {
        "owners": owner_shares,
        "agents": agent_shares,
        "budget": budget,
        "running": rows_by_name["running_month"][0] if period.is_running else None,
        "refusing": find_refusing_quotas(rows_by_name, caller.at) if period.is_running else [],
        "issued": running_totals[-1][1],
        "growth": replace(
            charts.draw_chart(running_totals, {}, period.today, earlier_counts=[budget.tokens] * len(running_totals)),
            label="Tokens since the first day of the month",
            line_label="the budget",
            sum_since="the 1st",
        ),
        "page_findings": findings,
        "max_findings": MAX_FINDINGS,
        "markers": charts.place_markers(rows_by_name["markers"], period.first, period.last),
        "changes": _count_changes(represent_rows(rows_by_name["changes"])) if "changes" in rows_by_name else None,
        "change": compare_counts,
        "has_all_changes": len(rows_by_name.get("changes", ())) <= MAX_EVENTS,
    }


def _build_month_calls(period: Period) -> dict[str, Call]:
    month_begin, month_end = (datetime.combine(day, time(), UTC) for day in (period.first, period.last + DAY))
    calls = {
        "organization": Call("organizations/get_organization", {}),
        "later_organization_changes": _build_events_call(since=month_end, until=None, action="organization.changed"),
        "earlier_event": _build_events_call(since=None, until=month_end, limit=1),
        "markers": Call("markers/list_markers", {"limit": MAX_LISTED}),
    }
    if period.is_running:
        calls |= {"running_month": budget_finding.build_call(), **REFUSAL_CALLS}
    if g.viewer.may("audit:read"):
        calls["changes"] = _build_events_call(since=month_begin, until=month_end)
    return calls


def _find_budget(
    period: Period, rows_by_name: Mapping[str, Rows], findings: PageFindings, running_totals: list[tuple[date, int]]
) -> Budget:
    """Return the budget of the month: now in the current month, and otherwise at the end of the month.

    :param running_totals: pairs of a day and the tokens since the first day of the month.
    """
    current_budget = rows_by_name["organization"][0].monthly_token_budget
    later_changes = rows_by_name["later_organization_changes"]
    if period.is_running:
        is_budget_known, month_budget = True, current_budget
    elif rows_by_name["earlier_event"] and len(later_changes) <= MAX_EVENTS:
        is_budget_known, month_budget = True, find_budget_before(represent_rows(later_changes), current_budget)
    else:
        # The audit trail begins too late or has too many events to show the budget. Only a budget finding can show it.
        reported_budgets = [int(finding.expected) for finding in findings.listed if finding.kind == "budget"]
        is_budget_known, month_budget = bool(reported_budgets), reported_budgets[0] if reported_budgets else None
    exceeded_on = next((day for day, tokens in running_totals if month_budget and tokens > month_budget), None)
    return Budget(is_budget_known, month_budget, current_budget, exceeded_on)


def _build_events_call(
    *, since: datetime | None, until: datetime | None, action: str | None = None, limit: int = MAX_EVENTS + 1
) -> Call:
    return build_list_call(below=None, actor=None, action=action, subject=None, since=since, until=until, limit=limit)


def find_budget_before(events: list[dict[str, Any]], current_budget: int | None) -> int | None:
    """Return the budget before its earliest change in *events* (newest first); the current budget without a change."""
    former_budgets = [event["before"][BUDGET_MEMBER] for event in events if BUDGET_MEMBER in (event["before"] or {})]
    return former_budgets[-1] if former_budgets else current_budget


def _count_changes(events: list[dict[str, Any]]) -> list[tuple[str, int, datetime]]:
    """Return, per action, a sentence, the number and the latest time of its events; the most frequent action first."""
    counts_by_action: Counter[str] = Counter()
    last_times: dict[str, str] = {}
    for event in events[:MAX_EVENTS]:
        subject_type, _, change_name = event["action"].partition(".")
        if subject_type not in OMITTED_SUBJECTS and not any(
            omitted_word in change_name for omitted_word in OMITTED_WORDS
        ):
            counts_by_action[event["action"]] += 1
            last_times.setdefault(event["action"], event["at"])
    return [
        (ACTIONS[action].description.partition(". ")[0].rstrip("."), count, datetime.fromisoformat(last_times[action]))
        for action, count in counts_by_action.most_common()
    ]


def _read_token_shares(caller: Caller, period: Period, pairs: list[Pair]) -> tuple[list[Share], list[Share]]:
    """Return the tokens of a month by owner and by agent, most tokens first."""
    month_tokens, compared_tokens, earlier_tokens = _read_tokens_by_agent(caller, period, pairs)
    [agent_rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": list(month_tokens | earlier_tokens)}))
    agent_shares = []
    shares_by_owner: dict[str, list[Share]] = {}
    for agent_row in agent_rows:
        agent_tokens = (counter[agent_row.agent_id] for counter in (month_tokens, compared_tokens, earlier_tokens))
        agent_shares.append(Share(agent_row.name, agent_row.agent_id, *agent_tokens))
        shares_by_owner.setdefault(agent_row.owner, []).append(agent_shares[-1])
    owner_shares = [_sum_shares(owner, shares) for owner, shares in shares_by_owner.items()]
    return _select_largest_shares(owner_shares), _select_largest_shares(agent_shares)


def _read_tokens_by_agent(caller: Caller, period: Period, pairs: list[Pair]) -> list[Counter[UUID]]:
    """Return counters of tokens by agent: for the month, its days in *pairs*, and the earlier days in *pairs*."""
    # Only the last days of a month can lack an earlier day, so the days of the pairs are consecutive.
    day_ranges = [(pairs[0][0].day, pairs[-1][0].day), (pairs[0][1].day, pairs[-1][1].day)] if pairs else []
    usage_calls = [
        Call("analytics/agent_usage", {"first": first_day, "last": last_day, "with_names": False, "limit": None})
        for first_day, last_day in [(period.first, period.last), *day_ranges]
    ]
    row_lists = [*caller.read_together(*usage_calls), [], []][:3]
    return [
        Counter({UUID(agent_row.agent_id): agent_row.token_count for agent_row in agent_rows})
        for agent_rows in row_lists
    ]


def _select_largest_shares(shares: list[Share]) -> list[Share]:
    """Return the largest shares, and one share with the sum of all others."""
    sorted_shares = sorted(
        shares, key=lambda share: (-share.tokens, -share.earlier_tokens, share.label, str(share.agent_id))
    )
    small_shares = sorted_shares[MAX_ROWS:]
    return sorted_shares[:MAX_ROWS] + ([_sum_shares(None, small_shares)] if small_shares else [])


def _sum_shares(label: str | None, shares: list[Share]) -> Share:
    amount_names = ("tokens", "compared_tokens", "earlier_tokens")
    return Share(label, None, *(sum(getattr(share, amount_name) for share in shares) for amount_name in amount_names))
