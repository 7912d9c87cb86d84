"""Apply marked holidays, marked deployments and the audit trail to findings.

1. Within a marked holiday, neither missing usage (``silence``) nor unexpected work (``weekend``) is reported. The hours
   of a holiday are no evidence of silence. Baselines are medians of weeks, so holidays do not change them.
2. If a finding about an agent begins within two hours after a deployment of the agent, or of all agents, its causes
   mention the deployment.
3. Such a ``spike`` of at most three times the expected tokens is only listed: old and new instances run at once.
4. If there was no deployment, the causes mention a credential that was created or revoked, a change of scopes, or the
   end of the agent's tokens. The severity stays the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_HOUR, instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.kinds import kind_of

CHANGE_SENTENCES = {
    "deployment": "A deployment was marked",
    "credential.created": "A credential of it was created",
    "credential.revoked": "A credential of it was revoked",
    "agent.changed": "Its scopes were changed",
    "agent.tokens_ended": "Its tokens were ended",
}
"""Sentences about changes that may cause a finding, by kind of marker or action of an audit event."""


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the markers since the earliest possible beginning of a finding."""
    since = query.at - timedelta(days=max(query.days, 7 * thresholds.MAX_SILENCE_WEEKS) + 1)
    return Call("findings/markers", {"since": since, "until": query.at, "max_events": thresholds.MAX_AUDIT_EVENTS})


def add_holidays(query: FindingsQuery, marker_rows: Rows) -> FindingsQuery:
    """Return the query with the holidays that are among the markers."""
    holidays = tuple((marker.starts_at, marker.ends_at) for marker in marker_rows if marker.kind == "holiday")
    return replace(query, holidays=holidays)


def explain_by_markers(finding: Finding, marker_rows: Rows) -> Finding:
    """Return a finding whose causes name the latest marker that may explain the finding."""
    matching_markers = [
        marker
        for marker in marker_rows
        if kind_of(finding).has_marked_cause
        and marker.kind in CHANGE_SENTENCES
        and marker.agent_id in (None, finding.agent_id)
        # A finding begins at a full hour, so a marker that explains the finding may begin up to an hour later.
        and marker.starts_at < finding.begins + ONE_HOUR
        and finding.begins <= marker.ends_at + thresholds.AFTER_DEPLOYMENT
    ]
    if not matching_markers:
        return finding
    # A deployment is preferred, because deployments often also rotate a credential or change scopes.
    marker = max(matching_markers, key=lambda candidate: (candidate.kind == "deployment", candidate.starts_at))
    marker_note = f": {marker.note}" if marker.note else ""
    causes = f"{finding.causes} {CHANGE_SENTENCES[marker.kind]} at {instant_in_words(marker.starts_at)}{marker_note}."
    is_expected = (
        finding.kind == "spike"
        and finding.severity is Severity.warning
        and marker.kind == "deployment"
        and finding.observed <= thresholds.DEPLOYMENT_TIMES * finding.expected
    )
    return replace(finding, causes=causes, severity=Severity.info if is_expected else finding.severity)
