"""``quota``: a quota of an agent or of the organization is nearly or wholly used.

1. The finding is listed (``info``) from 80 % of the quota on. If no token is left, it is a warning, or critical if the
   quota is enforced, because tokens are refused until the window ends.
2. Several quotas of an agent, or of the organization, are one finding, about the most urgent quota. Of equally urgent
   quotas, it is about the one whose window ends last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.history import instant
from agentidp.http.text import format_count
from agentidp.oauth.quota_windows import find_window_bounds, predict_exhaustion


def build_call(query: FindingsQuery) -> Call:
    return Call("findings/quota", {"percent": thresholds.QUOTA_NEAR_PERCENT})


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per agent whose quotas are nearly used up, and one for the organization's own quotas."""
    findings = [
        _make_finding(row, severity, query.at)
        for row in rows
        if (severity := severity_of(row.used, row.tokens, is_enforced=row.is_enforced))
    ]
    # The most urgent finding of an agent comes last, and replaces its other findings in the dictionary.
    findings.sort(key=lambda finding: (finding.severity, finding.ends))
    return list({finding.agent_id: finding for finding in findings}.values())


def severity_of(used: int, tokens: int, *, is_enforced: bool) -> Severity | None:
    """Return the severity for a quota of *tokens* of which *used* are used, or ``None`` below 80 %."""
    if used >= tokens:
        return Severity.critical if is_enforced else Severity.warning
    return Severity.info if used * 100 >= tokens * thresholds.QUOTA_NEAR_PERCENT else None


def _make_finding(row: Any, severity: Severity, at: datetime) -> Finding:
    window_start, window_end = find_window_bounds(row.quota_window, at)
    quota_holder = f"{row.agent_name}'s" if row.agent_id else "The organization's"
    used_percent = f"{int(100 * row.used / row.tokens)} %"
    window_end_words = f"the {row.quota_window} ends at {instant_in_words(window_end)}"
    if severity is Severity.critical:
        outlook_sentence = f"Tokens are refused until {instant_in_words(window_end)}."
    elif severity is Severity.warning:
        outlook_sentence = f"It is not enforced, so no token is refused, and {window_end_words}."
    elif runs_out_at := predict_exhaustion(row.used, row.tokens, window_start, window_end, at):
        used_up_words = f"it is used up at {instant_in_words(runs_out_at)}"
        outlook_sentence = f"At this pace, {used_up_words}, before {window_end_words}."
    else:
        outlook_sentence = f"At this pace, it lasts until {window_end_words}."
    return Finding(
        kind="quota",
        severity=severity,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=window_start,
        ends=window_end,
        since=instant(row.passed_on, 0) if row.passed_on else None,
        unit=f"tokens in the {row.quota_window}",
        observed=row.used,
        expected=row.tokens,
        baseline=f"the {'agent' if row.agent_id else 'organization'}'s quota per {row.quota_window}",
        summary=f"{quota_holder} quota of {format_count(row.tokens, 'token')} per {row.quota_window} is "
        f"{f'used up ({used_percent})' if row.used >= row.tokens else f'{used_percent} used'}. {outlook_sentence}",
        causes="There is more work than the quota was made for, or an agent asks for more tokens than it needs.",
        next_step="See whether other findings explain the tokens. If they are needed, raise the quota, which works at "
        "once.",
    )


KIND = Kind(build_call, compute_findings, reads_registry=True, is_about_tokens=True, names_contributors=True)
