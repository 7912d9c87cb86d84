"""``/dashboard``: the findings and the usage of the organization."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import charts, counts, pages, session
from agentidp.dashboard.agents import SHARE_LIMIT, Selection, agents_call, count_matches
from agentidp.dashboard.comparison import requested_comparison
from agentidp.dashboard.headline import budget_figure, compared_pairs, headline
from agentidp.dashboard.page_findings import MAX_FINDINGS, badges, is_recent, page_findings
from agentidp.dashboard.period import WEEK, Period, requested_period
from agentidp.dashboard.quotas import used_quotas
from agentidp.db.sql import Call
from agentidp.findings import budget
from agentidp.findings.finding import StoredFinding
from agentidp.registry.markers import MAX_LISTED
from agentidp.registry.quotas import usage_of

FEW_TOKENS = 10
"""Maximum number of tokens with which an organization with a single agent is shown the first steps."""

BUSIEST = 10
"""Maximum number of agents that the overview lists."""

blueprint = pages.new_blueprint("dashboard-overview", __name__)


@blueprint.get("/dashboard", strict_slashes=False)
@session.required
def overview(caller: Caller) -> Response:
    """Show the findings and the usage of the organization, or the first steps if it has hardly any usage."""
    at = caller.at.astimezone(UTC)
    period = requested_period(at)
    comparison = requested_comparison(period)
    today, week_ago = period.today, period.today - WEEK
    by_day, by_earlier_day, hours_of_today, hours_week_ago, busiest, failing, markers, first_usage = (
        caller.read_together(
            Call("analytics/usage_by_day", period.bounds),
            Call("analytics/usage_by_day", comparison.bounds),
            counts.usage_by_hour_call(today),
            counts.usage_by_hour_call(week_ago),
            agents_call(period, Selection(), limit=BUSIEST),
            Call("alerts/failing_targets", {}),
            Call("markers/list_markers", {"limit": MAX_LISTED}),
            Call("dashboard/first_usage", {}),
        )
    )
    first_used = first_usage[0].on_day if first_usage else None
    days, earlier = counts.days_of(by_day), counts.earlier_days(by_earlier_day, comparison, first_used)
    pairs = compared_pairs(period, earlier, days)
    issued = sum(day.tokens for day in days)
    has_usage = (
        issued > FEW_TOKENS or (issued > 0 and count_matches(busiest) > 1) or any(day and day.tokens for day in earlier)
    )
    if not has_usage and not request.args.keys() & {"days", "month", "from", "to"}:
        return pages.page("first_steps.html", here="overview", issued=issued, days=period.days)
    [[month]] = caller.read_together(budget.call()) if period.is_running else [[None]]
    hours = {"today": counts.hours_of_day(hours_of_today, today)}
    if first_used and first_used <= week_ago:
        hours["week_ago"] = counts.hours_of_day(hours_week_ago, week_ago)
    figures = headline(period, pairs, days, hours, at)
    if month is not None:
        figures.append(budget_figure(month, at))

    def slow_part() -> dict[str, Any]:
        findings = page_findings(caller, period, comparison=comparison)
        refusing = refusing_quotas(caller, at) if period.is_running else []
        recent = [finding for finding in findings.listed if not period.is_running or is_recent(finding, at)]
        token_findings, rejection_findings = charts.findings_by_day(findings.listed)
        earlier_findings, _ = charts.findings_by_day(findings.earlier)
        return {
            "page_findings": findings,
            "refusing": refusing,
            "markers": charts.chart_markers(markers, period.first, period.last),
            "max_findings": MAX_FINDINGS,
            "agents": busiest,
            "agent_count": count_matches(busiest),
            "badges": badges(recent),
            "budget": month,
            "past_budget": next((finding for finding in findings.listed if _is_budget_of(finding, period)), None),
            "budget_used": budget.used_percent(month) if month and month.budget else None,
            "share_limit": SHARE_LIMIT,
            "week": charts.heatmap(days, at, first_used),
            "tokens": charts.draw_chart(
                [(day.day, day.tokens) for day in days],
                token_findings,
                today,
                first_used or today,
                [None if day is None else day.tokens for day in earlier],
                [earlier_findings.get(day.day, []) if day else [] for day in earlier],
            ),
            "rejections": charts.draw_chart([(day.day, day.rejected) for day in days], rejection_findings, today),
            "days_newest_first": [
                (day, earlier_day, [*token_findings.get(day.day, []), *rejection_findings.get(day.day, [])])
                for earlier_day, day in zip(reversed(earlier), reversed(days), strict=True)
            ],
        }

    return pages.page(
        "overview.html",
        slow_part=slow_part,
        here="overview",
        period=period,
        comparison=comparison,
        pairs=pairs,
        figures=figures,
        failing_targets=failing,
    )


def refusing_quotas(caller: Caller, at: datetime) -> list[dict[str, Any]]:
    """Return the organization's own quotas that refuse tokens now (:func:`used_quotas`).

    The further member ``since`` is the hour of the first refused token, or ``None`` if no agent has asked since then.
    """
    quotas, refusals = caller.read_together(usage_of(None), Call("dashboard/first_refusals", {}))
    began_at = {row.quota_window: row.began_at for row in refusals}
    return [
        quota | {"since": began_at.get(quota["window"])}
        for quota in used_quotas(quotas, at)
        if quota["is_enforced"] and not quota["left"]
    ]


def _is_budget_of(finding: StoredFinding, period: Period) -> bool:
    """Return whether a finding has the budget of the period, which is a past month."""
    return finding.kind == "budget" and finding.begins.astimezone(UTC).date() == period.first and not period.is_running
