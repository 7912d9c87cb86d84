"""The evidence on a finding's page: counts and expected counts per hour or day, and the changes at that time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from agentidp.dashboard import charts, counts
from agentidp.dashboard.period import Period
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.finding import StoredFinding
from agentidp.findings.kinds import kind_of
from agentidp.findings.markers import CHANGE_SENTENCES

DAYS_BEFORE = 14
"""Number of days drawn before the days of a finding, for comparison."""

MAX_DAYS_DRAWN = 92

MAX_DAYS_OF_HOURS = 2
"""Maximum number of UTC days of a finding that is drawn by hour. A longer finding is drawn by day."""

MAX_CHANGES = 20

CHANGED = CHANGE_SENTENCES | {"agent.changed": "The scopes of an agent were changed", "holiday": "A holiday was marked"}
CHANGED |= {"credential.created": "A credential was created", "credential.revoked": "A credential was revoked"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for a finding.

    :param unit: the counted attribute, such as ``tokens``.
    :param drawn: (day, chart by hour) per day, or a single (``None``, chart by day).
    :param period: the days of the finding.
    :param changes: (instant, description, note) per change, oldest first.
    """

    unit: str
    drawn: list[tuple[date | None, charts.Chart]]
    period: Period
    changes: list[tuple[datetime, str, str | None]]


def calls(known: StoredFinding, at: datetime) -> list[Call]:
    """Return the statements that read the evidence. Pass their rows to :func:`evidence`."""
    first, last = _days(known, at)
    by_hour = _is_by_hour(known, at)
    if not by_hour:
        first = max(first - timedelta(days=DAYS_BEFORE), last - timedelta(days=MAX_DAYS_DRAWN - 1))
    bounds: dict[str, Any] = {"first": first, "last": last}
    if known.agent_id is not None:
        bounds["agent_id"] = known.agent_id
        usage = Call("analytics/agent_usage_by_hour" if by_hour else "analytics/agent_activity", bounds)
    else:
        usage = Call("analytics/usage_by_hour" if by_hour else "analytics/usage_by_day", bounds)
    since, until = known.begins - timedelta(days=1), min(known.ends, at)
    changes = {"since": since, "until": until, "max_events": thresholds.MAX_AUDIT_EVENTS}
    return [usage, Call("findings/markers", changes)]


def evidence(known: StoredFinding, at: datetime, counted: Rows, markers: Rows) -> Evidence:
    """Return the evidence for the rows of :func:`calls`."""
    name = kind_of(known).counted
    first, last = _days(known, at)
    drawn: list[tuple[date | None, charts.Chart]]
    if _is_by_hour(known, at):
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        hours = {day: counts.hours_of([row for row in counted if row.on_day is not None], day) for day in days}
        drawn = [(day, charts.hour_chart(day, hours[day], name, at, expected=_expected(known, day))) for day in days]
    else:
        rows = [(date.fromisoformat(str(getattr(row, "date", None) or row.on_day)), row) for row in counted]
        drawn_days = [(day, _count(row, name)) for day, row in rows]
        line = [_expected_of_day(known, day) for day, _ in drawn_days]
        marked = {day: [known] for day, _ in drawn_days if first <= day <= last and (last - first).days < DAYS_BEFORE}
        if known.since and known.since != known.begins:
            marked = {known.since.date(): [known]}
        drawn = [(None, charts.day_chart(drawn_days, marked, at.date(), earlier=line))]
    about = (None, *known.agent_ids)
    changes = [
        (row.starts_at, CHANGED[row.kind], row.note) for row in markers if row.agent_id in about and row.kind in CHANGED
    ]
    return Evidence(name, drawn, _period(known, at), changes[-MAX_CHANGES:])


def _days(known: StoredFinding, at: datetime) -> tuple[date, date]:
    """Return the first and the last UTC day of a finding, at most today and :data:`MAX_DAYS_DRAWN` days apart."""
    last = min(charts.last_day(known.ends.astimezone(UTC)), at.date())
    return max(min(known.begins.astimezone(UTC).date(), last), last - timedelta(days=MAX_DAYS_DRAWN - 1)), last


def _is_by_hour(known: StoredFinding, at: datetime) -> bool:
    first, last = _days(known, at)
    is_of_days = known.ends - known.begins >= timedelta(days=1)
    return (last - first).days < MAX_DAYS_OF_HOURS and not is_of_days


def _period(known: StoredFinding, at: datetime) -> Period:
    first, last = _days(known, at)
    return Period(first=first, last=last, today=at.date(), query=f"from={first}&to={last}")


def _count(row: Any, name: str) -> int:
    if name == "requests" and hasattr(row, "requests_by_hour"):
        return sum(row.requests_by_hour)
    return int(getattr(row, name))


def _expected_in(known: StoredFinding, step: timedelta) -> int | None:
    """Return the expected tokens per *step*, spread evenly; ``None`` unless the finding expects a number of tokens."""
    if known.unit == "tokens" or known.unit.startswith("tokens in the "):
        return round(known.expected * step / max(known.ends - known.begins, step))
    return None


def _expected(known: StoredFinding, day: date) -> list[int | None]:
    """Return the expected tokens per hour of a day."""
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    hour = timedelta(hours=1)
    each = _expected_in(known, hour)
    return [each if known.begins <= begins + number * hour < known.ends else None for number in range(24)]


def _expected_of_day(known: StoredFinding, day: date) -> int | None:
    is_within = known.begins.astimezone(UTC).date() <= day <= charts.last_day(known.ends.astimezone(UTC))
    return _expected_in(known, timedelta(days=1)) if is_within else None
