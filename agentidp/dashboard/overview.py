"""``/dashboard``: the findings and the usage of the organization."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import charts, counts, pages, session
from agentidp.dashboard.agents import SHARE_LIMIT, Selection, build_agents_call, count_matches
from agentidp.dashboard.comparison import read_comparison
from agentidp.dashboard.counts import DayUsage
from agentidp.dashboard.headline import build_budget_figure, build_headline, pair_days
from agentidp.dashboard.page_findings import MAX_FINDINGS, group_by_agent, is_recent, read_page_findings
from agentidp.dashboard.period import WEEK, Period, parse_period
from agentidp.dashboard.quotas import compute_used_quotas
from agentidp.dashboard.usage_filter import UsageFilter, read_usage_filter
from agentidp.db.sql import Call, Rows
from agentidp.findings import budget
from agentidp.registry.markers import MAX_LISTED
from agentidp.registry.quotas import build_usage_call

FEW_TOKENS = 10
"""Maximum number of tokens with which an organization that has a single agent still sees the first steps."""

BUSIEST = 10
"""Maximum number of busy agents that the overview lists."""

STACKED = 5
"""Maximum number of agents that have a layer of their own in the chart of tokens."""

USAGE = ("tokens", "requests", "rejected")
"""The counts of an agent that the page shows."""


@pages.blueprint.get("/dashboard", strict_slashes=False)
@session.required
def show_overview(caller: Caller) -> Response:
    """Show the findings and the usage of the organization, or the first steps if it has hardly any usage."""
    at = caller.at.astimezone(UTC)
    period = parse_period(at)
    comparison = read_comparison(period)
    usage_filter = read_usage_filter(caller, period)
    today, week_ago = period.today, period.today - WEEK
    # With a filter, the page shows neither hours nor the budget, so unfiltered_rows is empty.
    rows, earlier_rows, failing_target_rows, markers, first_usage_rows, *unfiltered_rows = caller.read_together(
        usage_filter.build_days_call(period.bounds),
        usage_filter.build_days_call(comparison.bounds),
        Call("alerts/failing_targets", {}),
        Call("markers/list_markers", {"limit": MAX_LISTED}),
        Call("dashboard/first_usage", {}),
        *([] if usage_filter.values else _calls_without_filter(period)),
    )
    # The budget is read only for a period that includes today. For other periods, months is empty.
    hours_of_today, hours_week_ago, *months = unfiltered_rows or ([], [])
    first_usage_day = first_usage_rows[0].on_day if first_usage_rows else None
    days = usage_filter.build_days(rows, **period.bounds)
    earlier_days = usage_filter.build_days(earlier_rows, **comparison.bounds)
    past_days = counts.match_days(earlier_days, comparison, first_usage_day)
    pairs = pair_days(period, past_days, days)
    total = sum(day.tokens for day in days)
    is_chosen = usage_filter.values or request.args.keys() & {"days", "month", "from", "to"}
    if not is_chosen and not _has_usage(caller, period, total, past_days):
        return pages.page("first_steps.html", here="overview", issued=total, days=period.days)
    if usage_filter.values:
        month, count_names = None, ("tokens",) if usage_filter.counts_tokens_only else USAGE
        figures = build_headline(period, pairs, days, None, at, count_names)
    else:
        month = months[0][0] if months else None
        hours = {"today": counts.build_hours(hours_of_today, today)}
        if first_usage_day and first_usage_day <= week_ago:
            hours["week_ago"] = counts.build_hours(hours_week_ago, week_ago)
        figures = build_headline(period, pairs, days, hours, at)
    if month is not None:
        figures.append(build_budget_figure(month, at))

    def slow_part() -> dict[str, Any]:
        findings = read_page_findings(caller, period, usage_filter.agent_ids, comparison=comparison)
        recent_findings = [finding for finding in findings.listed if not period.is_running or is_recent(finding, at)]
        # Findings are about agents, and not about single credentials or resources of an agent.
        has_findings = not usage_filter.counts_tokens_only
        token_findings, rejection_findings = charts.group_by_day(findings.listed if has_findings else [])
        earlier_findings, _ = charts.group_by_day(findings.earlier if has_findings else [])
        tokens = charts.draw_chart(
            [(day.day, day.tokens) for day in days],
            token_findings,
            today,
            today if usage_filter.values else first_usage_day or today,
            [None if day is None else day.tokens for day in past_days],
            [earlier_findings.get(day.day, []) if day else [] for day in past_days],
        )
        week_days = days
        if usage_filter.counts_tokens_only:
            agents, agent_count = _read_agents_by_tokens(caller, usage_filter.read_tokens_by_agent(caller, period))
        else:
            # The agents are read here, because with many agents it takes longer than the first part of the page.
            hours_calls = [usage_filter.build_hours_call(period.bounds)] if usage_filter.values else []
            agents, *hour_rows = caller.read_together(_build_agents_call(period, usage_filter), *hours_calls)
            if hour_rows:
                week_days = [DayUsage(row.on_day, 0, 0, row.requests_by_hour) for row in hour_rows[0]]
            agent_count = count_matches(agents)
        stacked_agents = [agent for agent in agents[:STACKED] if agent.tokens]
        quota_calls = [build_usage_call(None), Call("dashboard/first_refusals", {})] if period.is_running else []
        *quota_rows, stack_rows = caller.read_together(*quota_calls, _build_days_call(period, stacked_agents))
        quotas, refusals = quota_rows or ([], [])
        return {
            "page_findings": findings,
            "refusing": find_refusing_quotas(quotas, refusals, at),
            "markers": charts.place_markers(markers, period.first, period.last, usage_filter.agent_ids),
            "max_findings": MAX_FINDINGS,
            "agents": agents,
            "agent_count": agent_count,
            "badges": group_by_agent(recent_findings),
            "share_limit": SHARE_LIMIT,
            "week": charts.build_heatmap(week_days, at, first_usage_day),
            "tokens": charts.stack_bars(tokens, _list_tokens_by_day(stack_rows, period, stacked_agents)),
            "rejections": charts.draw_chart([(day.day, day.rejected) for day in days], rejection_findings, today),
            "days_newest_first": [
                (day, earlier_day, [*token_findings.get(day.day, []), *rejection_findings.get(day.day, [])])
                for earlier_day, day in zip(reversed(past_days), reversed(days), strict=True)
            ],
        }

    return pages.page(
        "overview.html",
        slow_part=slow_part,
        here="overview",
        period=period,
        comparison=comparison,
        usage_filter=usage_filter,
        issued=total,
        pairs=pairs,
        figures=figures,
        failing_targets=failing_target_rows,
    )


def _calls_without_filter(period: Period) -> list[Call]:
    return [
        counts.usage_by_hour_call(period.today),
        counts.usage_by_hour_call(period.today - WEEK),
        *([budget.build_call()] if period.is_running else []),
    ]


def _has_usage(caller: Caller, period: Period, total: int, earlier: list[DayUsage | None]) -> bool:
    """Return whether there is enough usage for charts: earlier tokens, many tokens, or tokens of several agents."""
    if total > FEW_TOKENS or any(day and day.tokens for day in earlier):
        return True
    return total > 0 and count_matches(*caller.read_together(_build_agents_call(period, UsageFilter()))) > 1


def _build_agents_call(period: Period, usage_filter: UsageFilter) -> Call:
    """Return the statement that reads the agents with the most tokens among those that pass the filters."""
    selection = Selection(owner=usage_filter.values.get("owner", ""))
    agent_ids = [usage_filter.agent_id] if usage_filter.agent_id else None
    return build_agents_call(period, selection, limit=BUSIEST, agent_ids=agent_ids)


def _read_agents_by_tokens(caller: Caller, tokens_by_agent: dict[UUID, list[int]]) -> tuple[list[Any], int]:
    """Return the agents with the most tokens, with their tokens on each day, and the number of all agents."""
    agent_ids = list(tokens_by_agent)[:BUSIEST]
    [agent_rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": agent_ids}))
    agents = [
        SimpleNamespace(**agent_row._asdict(), by_day=tokens_by_day, tokens=sum(tokens_by_day))
        for agent_row in agent_rows
        for tokens_by_day in [tokens_by_agent[agent_row.agent_id]]
    ]
    return sorted(agents, key=lambda agent: agent_ids.index(agent.agent_id)), len(tokens_by_agent)


def _build_days_call(period: Period, agents: list[Any]) -> Call:
    agent_ids = [agent.agent_id for agent in agents]
    return Call("findings/contributor_days", period.bounds | {"agent_ids": agent_ids})


def _list_tokens_by_day(rows: Rows, period: Period, agents: list[Any]) -> list[tuple[str, list[int]]]:
    """Return pairs of an agent's name and its tokens per day. Return no pairs for fewer than two agents.

    :param rows: rows of :func:`_build_days_call`. Agents with ``by_day`` have only the tokens that pass the filters.
    """
    if len(agents) < 2:
        return []
    if hasattr(agents[0], "by_day"):
        return [(agent.name, agent.by_day) for agent in agents]
    tokens_by_agent = {agent.agent_id: [0] * period.days for agent in agents}
    for row in rows:
        tokens_by_agent[row.agent_id][(row.on_day - period.first).days] = row.tokens
    return [(agent.name, tokens_by_agent[agent.agent_id]) for agent in agents]


def find_refusing_quotas(quotas: Rows, refusals: Rows, at: datetime) -> list[dict[str, Any]]:
    """Return the organization's own quotas that refuse tokens now, as :func:`compute_used_quotas` does.

    Each quota has a further member ``since``: the hour of the first refused token, or ``None`` if no token was refused
    yet.

    :param refusals: rows of ``dashboard/first_refusals``.
    """
    began_at_by_window = {refusal_row.quota_window: refusal_row.began_at for refusal_row in refusals}
    return [
        quota | {"since": began_at_by_window.get(quota["window"])}
        for quota in compute_used_quotas(quotas, at)
        if quota["is_enforced"] and not quota["left"]
    ]
