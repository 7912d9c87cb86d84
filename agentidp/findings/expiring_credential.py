"""``expiring_credential``: a credential ends within 30 days, or has just ended.

1. A reminder is due 30, 14, 7 and 1 days before the end, unless the credential was created later. The credential is
   reported from the first reminder on. Each later reminder is a further change of the finding, and is sent once.
2. The finding is a warning, and critical from the last reminder on. It is only listed if the agent has moved to another
   credential that ends later.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_DAY, instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity
from agentidp.findings.unused_credential import credential_in_words, describe_last_use
from agentidp.http.text import format_count

FIRST, *_, LAST = thresholds.EXPIRY_REMINDERS


def build_call(query: FindingsQuery) -> Call:
    """Return the statement that reads the credentials that expire soon, or expired within the last day."""
    bounds = {"since": query.at - ONE_DAY, "until": query.at + FIRST * ONE_DAY}
    return Call("findings/expiring_credential", bounds | {"max_credentials": thresholds.MAX_EXPIRING_CREDENTIALS})


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per credential for which a reminder is due."""
    rows_and_reminders = [(row, list_due_reminders(row.created_at, row.expires_at, query.at)) for row in rows]
    return [_make_finding(row, reminders[-1], query.at) for row, reminders in rows_and_reminders if reminders]


def list_due_reminders(created_at: datetime, expires_at: datetime, at: datetime) -> list[int]:
    """Return the reminders of a credential's expiry that were due so far, as days before the expiry, oldest first."""
    return [days for days in thresholds.EXPIRY_REMINDERS if created_at < expires_at - days * ONE_DAY <= at]


def has_agent_moved(last_used_at: datetime | None, moved_at: datetime | None) -> bool:
    """Return whether an agent has moved from its expiring credential to another credential.

    :param last_used_at: the time of the last use of the expiring credential; ``None`` if it was never used.
    :param moved_at: the time of the last use of the agent's credentials that expire later; ``None`` if none was used.
    """
    # An agent may use both credentials at the same time. It has moved only if it used the other credential at least a
    # day after the last use of the expiring credential.
    return moved_at is not None and (last_used_at is None or moved_at - last_used_at >= thresholds.MOVED_AFTER)


def _make_finding(row: Any, reminder_days: int, at: datetime) -> Finding:
    severity, has_ended = Severity.critical if reminder_days == LAST else Severity.warning, row.expires_at <= at
    days_left = max((row.expires_at - at) / ONE_DAY, 0.0)
    hours_words = format_count(int(24 * days_left), "hour") if 24 * days_left >= 1 else "less than an hour"
    remaining_words = format_count(int(days_left), "day") if days_left >= 1 else hours_words
    cause_sentence = (
        f"It was created to end then. {'Each' if has_ended else 'From then on each'} request with it is refused, and "
        "what uses it stops working."
    )
    next_step = (
        "Create another credential of the agent, and give it to whatever uses this one. Revoke this one when it is no "
        "longer used."
    )
    if has_agent_moved(row.last_used_at, row.moved_at):
        severity = Severity.info
        cause_sentence = (
            "Its agent has another credential that ends later, which was last used at "
            f"{instant_in_words(row.moved_at)}, so it has probably moved to that credential."
        )
        next_step = "Check that nothing uses it any more, and revoke it."
    return Finding(
        kind="expiring_credential",
        severity=severity,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        credential_id=row.credential_id,
        begins=max(row.created_at, row.expires_at - FIRST * ONE_DAY),
        ends=row.expires_at,
        unit="days left",
        observed=int(10 * days_left) / 10,
        expected=FIRST,
        baseline="the days before its end in which a credential is to be replaced",
        step=1 + thresholds.EXPIRY_REMINDERS.index(reminder_days),
        summary=f"{credential_in_words(row)} {'ended' if has_ended else f'ends in {remaining_words},'} at "
        f"{instant_in_words(row.expires_at)}. It {describe_last_use(row)}.",
        causes=cause_sentence,
        next_step=next_step,
    )


KIND = Kind(build_call, compute_findings, reads_registry=True)
