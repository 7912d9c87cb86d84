"""``expiring_credential``: a credential ends within 30 days, or has just ended.

1. A reminder is due 30, 14, 7 and 1 days before the end. The credential is reported from the first one on, and each
   later one is a further step of the finding, which is sent once (:mod:`agentidp.findings.alerting`).
2. Reminders from before the credential was created are left out: one for ten days is reported a week before its end,
   one for a day never.
3. It is a warning, and critical from the last reminder on. If its agent has moved to another credential that ends
   later, it is only listed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words, number_of
from agentidp.findings.finding import Finding, FindingsQuery, Severity
from agentidp.findings.unused_credential import called, last_use

FIRST, *_, LAST = thresholds.EXPIRY_REMINDERS

DAY = timedelta(days=1)


def call(query: FindingsQuery) -> Call:
    """The credentials that end within the days of the first reminder.

    Also those that ended within a day, so that the end of the finding says so.
    """
    return Call(
        "findings/expiring_credential",
        {
            "since": query.at - DAY,
            "until": query.at + FIRST * DAY,
            "max_credentials": thresholds.MAX_EXPIRING_CREDENTIALS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each credential of which a reminder is due."""
    found = []
    for row in rows:
        due = reminders_due(row.created_at, row.expires_at, query.at)
        if due:
            found.append(_finding(row, due, query.at))
    return found


def reminders_due(created_at: datetime, expires_at: datetime, at: datetime) -> list[int]:
    """The reminders that are due so far, each by its days before the end; the latest is the last."""
    return [days for days in thresholds.EXPIRY_REMINDERS if created_at < expires_at - days * DAY <= at]


def has_moved(last_used_at: datetime | None, moved_at: datetime | None) -> bool:
    """Whether the agent uses another credential that ends later, and no longer this one.

    While both are used, sometimes this and sometimes the other was used last.

    :param last_used_at: when this one was last used.
    :param moved_at: when another one was.
    """
    if moved_at is None:
        return False
    return last_used_at is None or moved_at - last_used_at >= thresholds.MOVED_AFTER


def _finding(row: Any, due: list[int], at: datetime) -> Finding:
    is_moved, has_ended = has_moved(row.last_used_at, row.moved_at), row.expires_at <= at
    severity = Severity.critical if due[-1] == LAST else Severity.warning
    left = max((row.expires_at - at) / DAY, 0.0)
    ends = "ended" if has_ended else f"ends in {_left(left)},"
    if is_moved:
        causes = (
            "Its agent has another credential that ends later, which was last used at "
            f"{instant_in_words(row.moved_at)}: it seems to have moved to that one."
        )
        next_step = "Check that nothing uses it any more, and revoke it."
    else:
        refused = "Each request with it is refused" if has_ended else "From then on each request with it is refused"
        causes = f"It was created to end then. {refused}, and what uses it stops working."
        next_step = (
            "Create another credential of the agent, and give it to whatever uses this one. Revoke this one when it is "
            "no longer used."
        )
    return Finding(
        kind="expiring_credential",
        severity=Severity.info if is_moved else severity,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        credential_id=row.credential_id,
        begins=max(row.created_at, row.expires_at - FIRST * DAY),
        ends=row.expires_at,
        unit="days left",
        observed=round(left, 1),
        expected=FIRST,
        baseline="the days before its end in which a credential is to be replaced",
        step=1 + thresholds.EXPIRY_REMINDERS.index(due[-1]),
        summary=f"{called(row)} {ends} at {instant_in_words(row.expires_at)}. It {last_use(row)}.",
        causes=causes,
        next_step=next_step,
    )


def _left(days: float) -> str:
    """A whole number of days, or of hours on the last day, rounded down."""
    if days >= 1:
        return number_of(int(days), "day")
    hours = int(days * 24)
    return number_of(hours, "hour") if hours else "less than an hour"
