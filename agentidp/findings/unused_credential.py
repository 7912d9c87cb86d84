"""``unused_credential``: a valid credential has not been used for 90 days, or was never used.

A credential is used when it authenticates a token request or an introspection. The time is exact to the minute. The
credentials of a dormant agent are reported by ``dormant_agent`` alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity


def build_call(query: FindingsQuery) -> Call:
    not_used_since = query.at - timedelta(days=thresholds.UNUSED_DAYS)
    limit_parameter = {"max_credentials": thresholds.MAX_UNUSED_CREDENTIALS}
    return Call("findings/unused_credential", {"before": not_used_since} | limit_parameter)


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per unused credential."""
    return [
        Finding(
            kind="unused_credential",
            severity=Severity.info,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            credential_id=row.credential_id,
            begins=row.last_used_at or row.created_at,
            ends=query.at,
            unit="days without use",
            observed=(query.at - (row.last_used_at or row.created_at)).days,
            expected=thresholds.UNUSED_DAYS,
            baseline="days without use after which a valid credential is reported",
            summary=f"{credential_in_words(row)} {describe_last_use(row)}.",
            causes="Its user now has another credential, or no longer runs."
            if row.last_used_at
            else "It was created for something that does not exist yet, or that uses another credential.",
            next_step="If nobody needs it, revoke it: a secret that nobody uses can still leak.",
        )
        for row in rows
    ]


def credential_in_words(row: Any) -> str:
    """Return words such as ``The credential "production" of crm-sync``, or with its id if it has no label."""
    name = f'"{row.label}"' if row.label else str(row.credential_id)
    return f"The credential {name} of {row.agent_name}"


def describe_last_use(row: Any) -> str:
    """Return when a credential was last used, as words that end a sentence about the credential."""
    if row.last_used_at is None:
        return f"has never been used since it was created, at {instant_in_words(row.created_at)}"
    return f"was last used at {instant_in_words(row.last_used_at)}"


KIND = Kind(build_call, compute_findings, reads_registry=True)
