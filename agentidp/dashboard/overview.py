"""``/dashboard``: the findings and the usage of the organization.

The page always shows tokens, earlier tokens and agents. It shows another part if both the filter and the period allow
the part. ``counts_tokens_only`` is true with a filter by resource or credential.

| part                                  | no filter | by owner or agent | by resource or credential | period has ended |
|---------------------------------------|-----------|-------------------|---------------------------|------------------|
| today's hours and the month's budget  | yes       | no                | no                        | no               |
| the most urgent incident              | yes       | yes               | no                        | no               |
| quotas that refuse tokens             | yes       | yes               | yes                       | no               |
| requests, heatmap and findings        | yes       | yes               | no                        | yes              |

The page reads the database in this order:

1. the objects that the filters name (:func:`read_usage_filter`);
2. the usage for ``overview.html``, the page's first part (:func:`_read_usage`). If it is little, also the number of
   agents that have tokens (:func:`_has_enough_usage`);
3. after the first part was sent, for ``overview_slow_part.html`` (:func:`_read_slow_part`): the findings, the agents,
   and the rows that depend on these agents (:func:`_build_slow_part_calls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import charts, counts, pages, session
from agentidp.dashboard.agents import SHARE_LIMIT, Selection, build_agents_call, count_matches
from agentidp.dashboard.charts import ChartMarker
from agentidp.dashboard.comparison import Comparison, read_comparison
from agentidp.dashboard.counts import DayUsage, Pair
from agentidp.dashboard.headline import COUNTS, Figure, build_budget_figure, build_headline, pair_days
from agentidp.dashboard.page_findings import MAX_FINDINGS, PageFindings, group_by_agent, is_recent, read_page_findings
from agentidp.dashboard.period import NAMES, WEEK, Period, parse_period
from agentidp.dashboard.quotas import REFUSAL_CALLS, find_refusing_quotas
from agentidp.dashboard.usage_filter import UsageFilter, read_usage_filter
from agentidp.db.sql import Call, Rows
from agentidp.findings import budget
from agentidp.findings.incidents import Incident, group_into_incidents
from agentidp.registry.markers import MAX_LISTED

FEW_TOKENS = 10
"""Maximum number of tokens with which an organization that has a single agent still sees the first steps."""

BUSIEST = 10
"""Maximum number of agents that the overview lists: the agents with the most tokens."""

STACKED = 5
"""Maximum number of agents that have a layer of their own in the chart of tokens."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage that the page shows.

    :param filter: the filters that the usage on ``days`` and ``compared_days`` passes.
    :param compared_days: for each day of the period, the earlier day with which it is compared, or ``None``.
    :param first_usage_day: the first day with any usage of the organization, or ``None``.
    """

    period: Period
    comparison: Comparison
    filter: UsageFilter
    days: list[DayUsage]
    compared_days: list[DayUsage | None]
    first_usage_day: date | None

    @property
    def tokens(self) -> int:
        """The total number of tokens in the period."""
        return sum(day.tokens for day in self.days)

    @property
    def pairs(self) -> list[Pair]:
        """The complete days of the period, each with the earlier day with which it is compared."""
        return pair_days(self.period, self.compared_days, self.days)


@pages.blueprint.get("/dashboard", strict_slashes=False)
@session.required
def show_overview(caller: Caller) -> Response:
    """Show the findings and the usage of the organization, or the first steps if it has hardly any usage."""
    period = parse_period(caller.at)
    comparison, usage_filter = read_comparison(period), read_usage_filter(caller, period)
    usage, rows_by_name = _read_usage(caller, period, comparison, usage_filter)
    has_parameters = usage_filter.values or request.args.keys() & set(NAMES)
    if not has_parameters and not _has_enough_usage(caller, usage):
        return pages.page("first_steps.html", here="overview", usage=usage, organization_id=caller.organization_id)
    return pages.page(
        "overview.html",
        slow_part=lambda: _read_slow_part(caller, usage),
        here="overview",
        period=period,
        comparison=comparison,
        usage_filter=usage_filter,
        issued=usage.tokens,
        pairs=usage.pairs,
        figures=_build_figures(usage, rows_by_name, caller.at.astimezone(UTC)),
        failing_targets=rows_by_name["failing_targets"],
    )


def _shows_today(period: Period, usage_filter: UsageFilter) -> bool:
    """Return whether the page compares today's hours with the hours a week ago, and shows the month's budget."""
    return period.is_running and not usage_filter.values


def _read_usage(
    caller: Caller, period: Period, comparison: Comparison, usage_filter: UsageFilter
) -> tuple[Usage, Mapping[str, Rows]]:
    """Return the usage, and the rows of all statements for the first part of the page, by the statement's name."""
    days_query = usage_filter.build_days_query(**period.bounds)
    earlier_days_query = usage_filter.build_days_query(**comparison.bounds)
    usage_calls = {
        "days": days_query.call,
        "earlier_days": earlier_days_query.call,
        "failing_targets": Call("alerts/failing_targets", {}),
        "first_usage": Call("dashboard/first_usage", {}),
    }
    if _shows_today(period, usage_filter):
        usage_calls["hours_of_today"] = counts.build_usage_by_hour_call(period.today)
        usage_calls["hours_a_week_ago"] = counts.build_usage_by_hour_call(period.today - WEEK)
        usage_calls["month"] = budget.build_call()
    rows_by_name = caller.read_by_name(usage_calls)
    first_usage_day = rows_by_name["first_usage"][0].on_day if rows_by_name["first_usage"] else None
    days = days_query.build_days(rows_by_name["days"])
    earlier_days = earlier_days_query.build_days(rows_by_name["earlier_days"])
    compared_days = counts.match_days(earlier_days, comparison, first_usage_day)
    return Usage(period, comparison, usage_filter, days, compared_days, first_usage_day), rows_by_name


def _has_enough_usage(caller: Caller, usage: Usage) -> bool:
    """Return whether earlier days have tokens, or the period has over :data:`FEW_TOKENS` tokens or several agents."""
    if usage.tokens > FEW_TOKENS or any(day and day.tokens for day in usage.compared_days):
        return True
    return usage.tokens > 0 and count_matches(*caller.read_together(_build_agents_call(usage))) > 1


def _build_figures(usage: Usage, rows_by_name: Mapping[str, Rows], at: datetime) -> list[Figure]:
    if not _shows_today(usage.period, usage.filter):
        count_names = ("tokens",) if usage.filter.counts_tokens_only else COUNTS
        return build_headline(usage.period, usage.pairs, usage.days, None, at, count_names)
    today, week_ago = usage.period.today, usage.period.today - WEEK
    hours_by_day = {"today": counts.build_hours(rows_by_name["hours_of_today"], today)}
    if usage.first_usage_day and usage.first_usage_day <= week_ago:
        hours_by_day["week_ago"] = counts.build_hours(rows_by_name["hours_a_week_ago"], week_ago)
    figures = build_headline(usage.period, usage.pairs, usage.days, hours_by_day, at)
    return [*figures, build_budget_figure(rows_by_name["month"][0], at)]


class AgentTokens(NamedTuple):
    """The tokens of an agent that pass a filter by resource or credential: per day of the period, and their sum."""

    agent_id: UUID
    name: str
    by_day: list[int]
    tokens: int


def _read_slow_part(caller: Caller, usage: Usage) -> dict[str, Any]:
    at, period = caller.at.astimezone(UTC), usage.period
    page_findings = read_page_findings(caller, period, usage.filter.agent_ids, comparison=usage.comparison)
    recent_findings = [finding for finding in page_findings.listed if not period.is_running or is_recent(finding, at)]
    # The agents are read here, and not for the first part of the page, because many agents would delay that part.
    agents, agent_count = _read_agents(caller, usage)
    stacked_agents = [agent for agent in agents[:STACKED] if agent.tokens]
    rows_by_name = caller.read_by_name(_build_slow_part_calls(usage, stacked_agents))
    heatmap_days = usage.days
    if "hours" in rows_by_name:
        heatmap_days = [
            DayUsage(hours_row.on_day, requests_by_hour=hours_row.requests_by_hour)
            for hours_row in rows_by_name["hours"]
        ]
    markers = charts.place_markers(rows_by_name["markers"], period.first, period.last, usage.filter.agent_ids)
    agent_layers = _list_tokens_by_day(usage, stacked_agents, rows_by_name)
    return _draw_charts(usage, page_findings, markers, agent_layers) | {
        "query": usage.filter.add_to_query(period.query),
        "page_findings": page_findings,
        "most_urgent": _find_most_urgent(usage, page_findings),
        "refusing": find_refusing_quotas(rows_by_name, at) if period.is_running else [],
        "max_findings": MAX_FINDINGS,
        "agents": agents,
        "agent_count": agent_count,
        "badges_by_agent": group_by_agent(recent_findings),
        "share_limit": SHARE_LIMIT,
        "heatmap": charts.build_heatmap(heatmap_days, at, usage.first_usage_day),
    }


def _build_slow_part_calls(usage: Usage, stacked_agents: list[Any]) -> dict[str, Call]:
    """Return the calls that depend on the agents: for the charts, and for the quotas that refuse tokens."""
    calls = {"markers": Call("markers/list_markers", {"limit": MAX_LISTED})}
    if usage.period.is_running:
        calls |= REFUSAL_CALLS
    if usage.filter.counts_tokens_only:
        return calls
    agent_ids = [agent.agent_id for agent in stacked_agents]
    calls["agent_days"] = Call("findings/contributor_days", usage.period.bounds | {"agent_ids": agent_ids})
    if usage.filter.values:
        # The usage per day of selected agents has no hours, so another statement reads the hours for the heatmap.
        calls["hours"] = usage.filter.build_hours_call(usage.period.bounds)
    return calls


def _find_most_urgent(usage: Usage, findings: PageFindings) -> Incident | None:
    """Return the first pressing incident, or ``None`` if there is none or the page shows no current findings."""
    if usage.filter.counts_tokens_only or not usage.period.is_running:
        return None
    return next((incident for incident in group_into_incidents(findings.shown or []) if incident.is_pressing), None)


def _build_bar_path(usage_filter: UsageFilter) -> str:
    """Return the path to which a day's bar leads: the day, an agent's day, or for other filters the page of usage."""
    if usage_filter.agent_id and not usage_filter.counts_tokens_only:
        return f"/agents/{usage_filter.agent_id}/days/{{bar}}"
    return f"/usage?from={{bar}}&to={{bar}}&{usage_filter.build_query()}" if usage_filter.values else "/days/{bar}"


def _draw_charts(
    usage: Usage, page_findings: PageFindings, markers: list[ChartMarker], agent_layers: list[tuple[str, list[int]]]
) -> dict[str, Any]:
    """Return the charts of tokens and of rejected requests with their findings, and the table of the same numbers."""
    # Findings are about agents, so a page that is filtered by a credential or resource shows no findings.
    has_findings, today = not usage.filter.counts_tokens_only, usage.period.today
    token_findings, rejection_findings = charts.group_by_day(page_findings.listed if has_findings else [])
    earlier_findings, _ = charts.group_by_day(page_findings.earlier_findings if has_findings else [])
    # Filtered usage can begin later than the organization's usage. No day before the filtered usage counts as empty.
    first_usage_day = None if usage.filter.values else usage.first_usage_day
    tokens_chart = charts.draw_chart(
        [(day.day, day.tokens) for day in usage.days],
        token_findings,
        running=today,
        created=first_usage_day or today,
        earlier_counts=[None if day is None else day.tokens for day in usage.compared_days],
        earlier_findings=[earlier_findings.get(day.day, []) if day else [] for day in usage.compared_days],
        line_label=usage.comparison.words,
    )
    daily_rejections = [(day.day, day.rejected) for day in usage.days]
    rejections_chart = charts.draw_chart(daily_rejections, rejection_findings, running=today)
    stacked_chart = charts.stack_bars(tokens_chart, agent_layers)
    bar_path, finding_ids_on_page = _build_bar_path(usage.filter), page_findings.list_ids_on_page(MAX_FINDINGS)
    return {
        **charts.link_usage_charts(stacked_chart, rejections_chart, bar_path, finding_ids_on_page, markers),
        "days_newest_first": [
            (day, earlier_day, [*token_findings.get(day.day, []), *rejection_findings.get(day.day, [])])
            for earlier_day, day in zip(reversed(usage.compared_days), reversed(usage.days), strict=True)
        ],
    }


def _read_agents(caller: Caller, usage: Usage) -> tuple[Rows | list[AgentTokens], int]:
    """Return the agents with the most tokens that pass the filters, and the number of all agents that pass them.

    The agents are rows of :func:`_build_agents_call`, or with a filter by resource or credential ``AgentTokens``.
    """
    if not usage.filter.counts_tokens_only:
        [agents] = caller.read_together(_build_agents_call(usage))
        return agents, count_matches(agents)
    tokens_by_agent = usage.filter.read_tokens_by_agent(caller, usage.period)
    agent_ids = list(tokens_by_agent)[:BUSIEST]
    [name_rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": agent_ids}))
    agents = [
        AgentTokens(agent.agent_id, agent.name, tokens_by_agent[agent.agent_id], sum(tokens_by_agent[agent.agent_id]))
        for agent in sorted(name_rows, key=lambda agent: agent_ids.index(agent.agent_id))
    ]
    return agents, len(tokens_by_agent)


def _build_agents_call(usage: Usage) -> Call:
    agent_selection = Selection(owner=usage.filter.values.get("owner", ""))
    agent_ids = [usage.filter.agent_id] if usage.filter.agent_id else None
    return build_agents_call(usage.period, agent_selection, limit=BUSIEST, agent_ids=agent_ids)


def _list_tokens_by_day(usage: Usage, agents: list[Any], rows: Mapping[str, Rows]) -> list[tuple[str, list[int]]]:
    """Return pairs of an agent's name and its tokens per day, or no pairs for fewer than two agents."""
    if len(agents) < 2:
        return []
    if usage.filter.counts_tokens_only:
        return [(agent.name, agent.by_day) for agent in agents]
    tokens_by_agent = {agent.agent_id: [0] * usage.period.days for agent in agents}
    for day_row in rows["agent_days"]:
        tokens_by_agent[day_row.agent_id][(day_row.on_day - usage.period.first).days] = day_row.tokens
    return [(agent.name, tokens_by_agent[agent.agent_id]) for agent in agents]
