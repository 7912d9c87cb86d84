"""The evidence on a finding's page: counts and expected counts per hour or day, and the changes at that time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from agentidp.dashboard import charts
from agentidp.dashboard.charts import Chart
from agentidp.dashboard.counts import HourUsage
from agentidp.dashboard.period import DAY, Period
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import StoredFinding
from agentidp.findings.kinds import kind_of
from agentidp.findings.markers import CHANGE_SENTENCES

HOUR = timedelta(hours=1)

DAYS_BEFORE = 14
"""Number of days that a chart by day shows before the finding's first day, for comparison."""

MAX_DAYS_DRAWN = 92

MAX_DAYS_OF_HOURS = 2
"""Maximum UTC days of a finding whose charts have a bar per hour. The chart of a longer finding has a bar per day."""

MAX_CHANGES = 20

LIMITS = {
    **dict.fromkeys(("budget", "quota", "dominance"), "limit"),
    **dict.fromkeys(("dormant_agent", "expiring_credential", "unused_credential"), "reported from"),
}
"""Words for the amount with which the observed amount is compared, by kind of finding. Default: ``expected``."""

CHANGES = CHANGE_SENTENCES | {
    "agent.changed": "The scopes of an agent were changed",
    "agent.tokens_ended": "The tokens of an agent were ended",
    "holiday": "A holiday was marked",
    "credential.created": "A credential was created",
    "credential.revoked": "A credential was revoked",
}
"""Descriptions of changes, by action of an audit event or by kind of marker."""


Counts = Counter[tuple[date, int | None]]
"""Counts by day and hour. The hour is ``None`` for the count of a whole day."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The charts and changes that a finding's page shows as evidence.

    :param unit: the counted attribute, such as ``tokens``.
    :param agent_ids: the agents whose usage is drawn; empty if the usage of the whole organization is drawn.
    :param charts: pairs of a day and its chart by hour, or a single pair of ``None`` and a chart by day.
    :param changes: (instant, description, note) per change, oldest first.
    :param limit: the words for the amount with which the observed amount is compared.
    :param line: the words for the line in the charts, which shows this amount per bar.
    """

    unit: str
    agent_ids: list[UUID]
    charts: list[tuple[date | None, Chart]]
    drawn_days: tuple[date, date]
    period: Period
    changes: list[tuple[datetime, str, str | None]]
    limit: str
    line: str

    @property
    def total(self) -> int:
        """The sum of the counts of all bars."""
        return sum(chart.total for _, chart in self.charts)


def build_calls(finding: StoredFinding, at: datetime) -> list[Call]:
    """Return the statements that read, for :func:`build_evidence`, the evidence of a finding."""
    first_day, last_day = _find_drawn_days(finding, at)
    is_by_hour, agent_ids = _is_drawn_by_hour(finding, at), _find_drawn_agents(finding)
    if finding.credential_id is not None:
        statement_name = "analytics/agent_use"
    elif agent_ids:
        statement_name = "analytics/agent_usage_by_hour" if is_by_hour else "analytics/agent_activity"
    else:
        statement_name = "analytics/usage_by_hour" if is_by_hour else "analytics/usage_by_day"
    bounds: dict[str, Any] = {"first": first_day, "last": last_day}
    usage_calls = [Call(statement_name, bounds | {"agent_id": agent_id}) for agent_id in agent_ids] or [
        Call(statement_name, bounds)
    ]
    event_bounds = {"since": finding.begins - DAY, "until": min(finding.ends, at)}
    return [*usage_calls, Call("findings/markers", event_bounds | {"max_events": thresholds.MAX_AUDIT_EVENTS})]


def build_evidence(finding: StoredFinding, at: datetime, *row_lists: Rows) -> Evidence:
    """Return the evidence of a finding, from the rows of :func:`build_calls`."""
    *usage_row_lists, marker_rows = row_lists
    unit, limit_label = kind_of(finding).counted, LIMITS.get(finding.kind, "expected")
    line_label = _describe_line(finding, limit_label, at)
    usage_counts = _sum_counts(finding, [usage_row for usage_rows in usage_row_lists for usage_row in usage_rows], unit)
    return Evidence(
        unit=unit,
        agent_ids=_find_drawn_agents(finding),
        charts=[
            (day, replace(chart, unit=unit, line_label=line_label, has_steps=True))
            for day, chart in _draw_charts(finding, usage_counts, unit, at)
        ],
        drawn_days=_find_drawn_days(finding, at),
        period=_build_period(finding, at),
        changes=_list_changes(finding, marker_rows),
        limit=limit_label,
        line=line_label,
    )


def _describe_line(finding: StoredFinding, limit: str, at: datetime) -> str:
    is_spread = limit == "limit" and finding.ends - finding.begins > (HOUR if _is_drawn_by_hour(finding, at) else DAY)
    return "limit, spread evenly" if is_spread else limit


def _build_period(finding: StoredFinding, at: datetime) -> Period:
    first_day, last_day = _find_days(finding, at)
    return Period(first=first_day, last=last_day, today=at.date(), query=f"from={first_day}&to={last_day}")


def _list_changes(finding: StoredFinding, markers: Rows) -> list[tuple[datetime, str, str | None]]:
    """Return the latest changes that may concern a finding, oldest first: (instant, description, note)."""
    changes = [
        (marker_row.starts_at, CHANGES[marker_row.kind], marker_row.note)
        for marker_row in markers
        if marker_row.agent_id in (None, *finding.agent_ids) and marker_row.kind in CHANGES
    ]
    return changes[-MAX_CHANGES:]


def _draw_charts(finding: StoredFinding, counts: Counts, unit: str, at: datetime) -> list[tuple[date | None, Chart]]:
    first_day, last_day = _find_drawn_days(finding, at)
    days = [first_day + day_offset * DAY for day_offset in range((last_day - first_day).days + 1)]
    if _is_drawn_by_hour(finding, at):
        return [(day, _draw_hours(finding, day, counts, unit, at)) for day in days]
    return [(None, _draw_days(finding, days, counts, _build_period(finding, at)))]


def _draw_hours(finding: StoredFinding, day: date, counts: Counts, unit: str, at: datetime) -> Chart:
    midnight = datetime.combine(day, time(), UTC)
    expected_counts = [_compute_expected(finding, midnight + hour * HOUR, HOUR) for hour in range(24)]
    hour_usages = [HourUsage(hour, **{unit: counts[day, hour]}) for hour in range(24)]
    chart = charts.draw_hours(day, hour_usages, unit, at, expected=expected_counts)
    return replace(chart, label="By hour", path=f"/days/{day}{{bar}}#agents")


def _draw_days(finding: StoredFinding, days: list[date], counts: Counts, period: Period) -> Chart:
    if finding.since and finding.since != finding.begins:
        findings_by_day = {finding.since.date(): [finding]}
    else:
        findings_by_day = {day: [finding] for day in days if period.first <= day and period.days <= DAYS_BEFORE}
    expected_counts = [_compute_expected(finding, datetime.combine(day, time(), UTC), DAY) for day in days]
    counts_by_day = [(day, counts[day, None]) for day in days]
    chart = charts.draw_chart(counts_by_day, findings_by_day, period.today, earlier_counts=expected_counts)
    agent_path = f"/agents/{finding.agent_id}" if finding.agent_id else ""
    return replace(chart, label="By day", path=agent_path + "/days/{bar}")


def _find_drawn_agents(finding: StoredFinding) -> list[UUID]:
    """Return the agents whose usage is drawn, or no agents if the usage of the whole organization is drawn."""
    is_of_all = finding.kind in ("budget", "quota") and finding.agent_id is None
    return finding.agent_ids if not is_of_all and finding.agent_count in (None, len(finding.agent_ids)) else []


def _find_days(finding: StoredFinding, at: datetime) -> tuple[date, date]:
    """Return the first and the last UTC day of a finding: at most :data:`MAX_DAYS_DRAWN` days, and none after today."""
    last = min(charts.last_day(finding.ends.astimezone(UTC)), at.date())
    return max(min(finding.begins.astimezone(UTC).date(), last), last - (MAX_DAYS_DRAWN - 1) * DAY), last


def _find_drawn_days(finding: StoredFinding, at: datetime) -> tuple[date, date]:
    """Return the first and the last drawn day. A chart by day begins :data:`DAYS_BEFORE` days before the finding."""
    first_day, last_day = _find_days(finding, at)
    if not _is_drawn_by_hour(finding, at):
        first_day = max(first_day - DAYS_BEFORE * DAY, last_day - (MAX_DAYS_DRAWN - 1) * DAY)
    return first_day, last_day


def _is_drawn_by_hour(finding: StoredFinding, at: datetime) -> bool:
    first_day, last_day = _find_days(finding, at)
    # Rejections are shown per day, because their expected number is not known per hour.
    has_hourly_counts = finding.ends - finding.begins < DAY and finding.kind != "rejections"
    return (last_day - first_day).days < MAX_DAYS_OF_HOURS and has_hourly_counts


def _sum_counts(finding: StoredFinding, usage_rows: Rows, unit: str) -> Counts:
    counts_by_time: Counts = Counter()
    for usage_row in usage_rows:
        if hasattr(usage_row, "credential_id"):
            if usage_row.credential_id == finding.credential_id:
                counts_by_time[usage_row.on_day, None] += sum(usage_row.hours)
        elif hasattr(usage_row, "at_hour"):
            # The statement returns one row without an hour if there is no usage.
            if usage_row.at_hour is not None:
                counts_by_time[usage_row.on_day, usage_row.at_hour] += getattr(usage_row, unit)
        elif unit == "requests" and hasattr(usage_row, "requests_by_hour"):
            counts_by_time[usage_row.on_day, None] += sum(usage_row.requests_by_hour)
        else:
            day = date.fromisoformat(usage_row.date) if hasattr(usage_row, "date") else usage_row.on_day
            counts_by_time[day, None] += getattr(usage_row, unit)
    return counts_by_time


def _compute_expected(finding: StoredFinding, begins: datetime, step: timedelta) -> int | None:
    """Return the expected tokens or rejections in a day or hour of a finding, or ``None`` if it expects neither."""
    if begins >= finding.ends or begins + step <= finding.begins:
        return None
    if finding.unit == "rejected requests":
        return round(finding.expected)
    if finding.unit == "tokens" or finding.unit.startswith("tokens in the "):
        return round(finding.expected * step / max(finding.ends - finding.begins, step))
    return None
