"""What people marked, and what the audit trail knows, taken into account by findings.

1. Within a holiday nothing that is missing or quiet is reported (``silence``, ``zero_day``), and no work on it
   (``weekend``). Its hours count for no agent's silence. Baselines are medians of weeks, which it does not move.
2. A finding about an agent that begins within two hours after a deployment of it, or of all agents, says so.
3. Such a ``spike`` is only listed (``info``) up to three times what is expected: new instances beside the old ones.
4. A credential that was created or revoked, and changed scopes, change no severity. They are mentioned if no deployment
   is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity

HOUR = timedelta(hours=1)

NOTICED = {
    "deployment": "A deployment was marked",
    "credential.created": "A credential of it was created",
    "credential.revoked": "A credential of it was revoked",
    "agent.changed": "Its scopes were changed",
}
"""Kind of marker -> what happened."""

EXPLAINED = ("spike", "silence", "rejections", "uncached_tokens")
"""Kinds of findings that a change of an agent may explain."""


@dataclass(frozen=True)
class Marker:
    """Something that happened to an agent, or to all of them (``None``); or a holiday."""

    kind: str
    starts_at: datetime
    ends_at: datetime
    agent_id: UUID | None
    note: str | None


def call(query: FindingsQuery) -> Call:
    """The markers of the time in which a finding may lie, or an agent's silence may have begun."""
    since = query.at - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 1)
    return Call("findings/markers", {"since": since, "until": query.at, "max_events": thresholds.MAX_AUDIT_EVENTS})


def markers_of(rows: Rows) -> list[Marker]:
    """The statement's rows."""
    return [
        Marker(row.kind, row.starts_at.astimezone(UTC), row.ends_at.astimezone(UTC), row.agent_id, row.note)
        for row in rows
    ]


def with_holidays(query: FindingsQuery, markers: Sequence[Marker]) -> FindingsQuery:
    """The query with the holidays among the markers."""
    return replace(query, holidays=tuple((one.starts_at, one.ends_at) for one in markers if one.kind == "holiday"))


def explained(one: Finding, markers: Sequence[Marker]) -> Finding:
    """The finding with the latest deployment that may explain it, or else the latest other marker.

    A deployment often rotates a credential or changes scopes on the way, which explain less.
    """
    candidates = [marker for marker in markers if one.kind in EXPLAINED and _may_explain(marker, one)]
    if not candidates:
        return one
    marker = max(candidates, key=lambda each: (each.kind == "deployment", each.starts_at))
    note = f": {marker.note}" if marker.note else ""
    # After the causes, in which "it" is the agent.
    causes = f"{one.causes} {NOTICED[marker.kind]} at {instant_in_words(marker.starts_at)}{note}."
    is_expected = (
        one.kind == "spike"
        and one.severity is Severity.warning
        and marker.kind == "deployment"
        and one.observed <= thresholds.DEPLOYMENT_TIMES * one.expected
    )
    return replace(one, causes=causes, severity=Severity.info if is_expected else one.severity)


def _may_explain(marker: Marker, one: Finding) -> bool:
    """Whether a finding begins while it happens or soon after; the hour in which it begins is known, not the minute."""
    concerns = marker.agent_id is None or marker.agent_id == one.agent_id
    if marker.kind not in NOTICED or not concerns:
        return False
    return marker.starts_at < one.begins + HOUR and one.begins <= marker.ends_at + thresholds.AFTER_DEPLOYMENT
