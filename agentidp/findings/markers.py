"""What people marked, and what the audit trail knows, taken into account by findings.

1. Within a holiday nothing that is missing or quiet is reported (``silence``), and no work on it (``weekend``). Its
   hours count for no agent's silence. Baselines are medians of weeks, which it does not move.
2. A finding about an agent that begins within two hours after a deployment of it, or of all agents, says so.
3. Such a ``spike`` is only listed (``info``) up to three times what is expected: new instances beside the old ones.
4. A credential that was created or revoked, and changed scopes, change no severity. They are mentioned if no deployment
   is.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.kinds import kind_of

HOUR = timedelta(hours=1)

NOTICED = {
    "deployment": "A deployment was marked",
    "credential.created": "A credential of it was created",
    "credential.revoked": "A credential of it was revoked",
    "agent.changed": "Its scopes were changed",
}
"""Kind of marker -> what happened."""


def call(query: FindingsQuery) -> Call:
    """The markers of the time in which a finding may lie, or an agent's silence may have begun: holidays, and what
    happened to an agent, or to all of them (``agent_id`` is null).
    """
    since = query.at - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 1)
    return Call("findings/markers", {"since": since, "until": query.at, "max_events": thresholds.MAX_AUDIT_EVENTS})


def with_holidays(query: FindingsQuery, markers: Rows) -> FindingsQuery:
    """The query with the holidays among the markers."""
    return replace(query, holidays=tuple((one.starts_at, one.ends_at) for one in markers if one.kind == "holiday"))


def explained(one: Finding, markers: Rows) -> Finding:
    """The finding with the latest deployment that may explain it, or else the latest other marker.

    A deployment often rotates a credential or changes scopes on the way, which explain less.
    """
    candidates = [
        marker
        for marker in markers
        if kind_of(one).has_marked_cause
        and marker.kind in NOTICED
        and marker.agent_id in (None, one.agent_id)
        # The hour in which a finding begins is known, not the minute.
        and marker.starts_at < one.begins + HOUR
        and one.begins <= marker.ends_at + thresholds.AFTER_DEPLOYMENT
    ]
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
