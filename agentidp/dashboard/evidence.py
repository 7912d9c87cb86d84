"""The evidence on a finding's page: counts and expected counts per hour or day, and the changes at that time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from agentidp.dashboard import charts, counts
from agentidp.dashboard.charts import Chart
from agentidp.dashboard.period import DAY, Period
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import StoredFinding
from agentidp.findings.kinds import kind_of
from agentidp.findings.markers import CHANGE_SENTENCES

HOUR = timedelta(hours=1)

DAYS_BEFORE = 14
"""Number of days drawn before the days of a finding, for comparison."""

MAX_DAYS_DRAWN = 92

MAX_DAYS_OF_HOURS = 2
"""Maximum number of UTC days of a finding that is drawn by hour. A longer finding is drawn by day."""

MAX_CHANGES = 20

CHANGES = CHANGE_SENTENCES | {
    "agent.changed": "The scopes of an agent were changed",
    "agent.tokens_ended": "The tokens of an agent were ended",
    "holiday": "A holiday was marked",
    "credential.created": "A credential was created",
    "credential.revoked": "A credential was revoked",
}
"""Action or kind of a marker -> its description."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for a finding.

    :param unit: the counted attribute, such as ``tokens``.
    :param charts: (day, chart by hour) per day, or a single (``None``, chart by day).
    :param period: the days of the finding.
    :param changes: (instant, description, note) per change, oldest first.
    """

    unit: str
    charts: list[tuple[date | None, Chart]]
    period: Period
    changes: list[tuple[datetime, str, str | None]]


def calls(finding: StoredFinding, at: datetime) -> list[Call]:
    """Return the statements that read the evidence. Pass their rows to :func:`evidence`."""
    first, last = _days(finding, at)
    is_by_hour = _is_by_hour(finding, at)
    if not is_by_hour:
        first = max(first - DAYS_BEFORE * DAY, last - (MAX_DAYS_DRAWN - 1) * DAY)
    bounds: dict[str, Any] = {"first": first, "last": last}
    if finding.agent_id is not None:
        bounds["agent_id"] = finding.agent_id
        usage = Call("analytics/agent_usage_by_hour" if is_by_hour else "analytics/agent_activity", bounds)
    else:
        usage = Call("analytics/usage_by_hour" if is_by_hour else "analytics/usage_by_day", bounds)
    times = {"since": finding.begins - DAY, "until": min(finding.ends, at)}
    return [usage, Call("findings/markers", times | {"max_events": thresholds.MAX_AUDIT_EVENTS})]


def evidence(finding: StoredFinding, at: datetime, usage: Rows, markers: Rows) -> Evidence:
    """Return the evidence for the rows of :func:`calls`."""
    unit = kind_of(finding).counted
    first, last = _days(finding, at)
    period = Period(first=first, last=last, today=at.date(), query=f"from={first}&to={last}")
    day_charts: list[tuple[date | None, Chart]]
    if _is_by_hour(finding, at):
        rows = [row for row in usage if row.on_day is not None]
        day_charts = []
        for day in (first + number * DAY for number in range(period.days)):
            midnight = datetime.combine(day, time(), UTC)
            expected = [_expected(finding, midnight + number * HOUR, HOUR) for number in range(24)]
            hours = counts.hours_of_day(rows, day)
            day_charts.append((day, charts.draw_hours(day, hours, unit, at, expected=expected)))
    else:
        days = [(date.fromisoformat(str(getattr(row, "date", None) or row.on_day)), _count(row, unit)) for row in usage]
        if finding.since and finding.since != finding.begins:
            flags = {finding.since.date(): [finding]}
        else:
            flags = {day: [finding] for day, _ in days if first <= day <= last and period.days <= DAYS_BEFORE}
        expected = [_expected(finding, datetime.combine(day, time(), UTC), DAY) for day, _ in days]
        day_charts = [(None, charts.draw_chart(days, flags, at.date(), earlier_counts=expected))]
    changes = [
        (row.starts_at, CHANGES[row.kind], row.note)
        for row in markers
        if row.agent_id in (None, *finding.agent_ids) and row.kind in CHANGES
    ]
    return Evidence(unit, day_charts, period, changes[-MAX_CHANGES:])


def _days(finding: StoredFinding, at: datetime) -> tuple[date, date]:
    """Return the first and the last UTC day of a finding. At most :data:`MAX_DAYS_DRAWN` days, and none after today."""
    last = min(charts.last_day(finding.ends.astimezone(UTC)), at.date())
    return max(min(finding.begins.astimezone(UTC).date(), last), last - (MAX_DAYS_DRAWN - 1) * DAY), last


def _is_by_hour(finding: StoredFinding, at: datetime) -> bool:
    first, last = _days(finding, at)
    return (last - first).days < MAX_DAYS_OF_HOURS and finding.ends - finding.begins < DAY


def _count(row: Any, unit: str) -> int:
    if unit == "requests" and hasattr(row, "requests_by_hour"):
        return sum(row.requests_by_hour)
    return int(getattr(row, unit))


def _expected(finding: StoredFinding, begins: datetime, step: timedelta) -> int | None:
    """Return the expected tokens in a day or an hour, spread evenly over the finding; ``None`` outside the finding, and
    if the finding does not expect a number of tokens.
    """
    is_of_tokens = finding.unit == "tokens" or finding.unit.startswith("tokens in the ")
    if not is_of_tokens or begins >= finding.ends or begins + step <= finding.begins:
        return None
    return round(finding.expected * step / max(finding.ends - finding.begins, step))
