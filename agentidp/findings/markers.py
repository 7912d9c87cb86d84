"""Apply marked holidays, marked deployments and the audit trail to findings.

1. Within a marked holiday nothing is reported as missing (``silence``), and no work (``weekend``). Its hours are no
   evidence against an agent. It does not move baselines, which are medians of weeks.
2. If a finding about an agent begins within two hours after a deployment of the agent, or of all agents, its causes say
   so.
3. Such a ``spike`` is only listed up to three times the expected tokens, because new instances run beside the old ones.
4. A credential that was created or revoked, and changed scopes, are mentioned unless a deployment is. They do not
   change the severity.
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
"""Kind of a marker -> the sentence about it."""


def call(query: FindingsQuery) -> Call:
    """Return the statement that reads the markers since the earliest beginning of a finding or a silence."""
    since = query.at - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 1)
    return Call("findings/markers", {"since": since, "until": query.at, "max_events": thresholds.MAX_AUDIT_EVENTS})


def with_holidays(query: FindingsQuery, markers: Rows) -> FindingsQuery:
    """Return the query with the holidays among the markers."""
    holidays = tuple((marker.starts_at, marker.ends_at) for marker in markers if marker.kind == "holiday")
    return replace(query, holidays=holidays)


def explained(finding: Finding, markers: Rows) -> Finding:
    """Return the finding with the latest deployment that may explain it, or else with the latest other marker.

    A deployment often rotates a credential or changes scopes as well, which explain less.
    """
    candidates = [
        marker
        for marker in markers
        if kind_of(finding).has_marked_cause
        and marker.kind in NOTICED
        and marker.agent_id in (None, finding.agent_id)
        # The hour in which a finding begins is known, not the minute.
        and marker.starts_at < finding.begins + HOUR
        and finding.begins <= marker.ends_at + thresholds.AFTER_DEPLOYMENT
    ]
    if not candidates:
        return finding
    marker = max(candidates, key=lambda candidate: (candidate.kind == "deployment", candidate.starts_at))
    note = f": {marker.note}" if marker.note else ""
    # In the causes, "it" is the agent, also in the sentence that follows them.
    causes = f"{finding.causes} {NOTICED[marker.kind]} at {instant_in_words(marker.starts_at)}{note}."
    is_expected = (
        finding.kind == "spike"
        and finding.severity is Severity.warning
        and marker.kind == "deployment"
        and finding.observed <= thresholds.DEPLOYMENT_TIMES * finding.expected
    )
    return replace(finding, causes=causes, severity=Severity.info if is_expected else finding.severity)
