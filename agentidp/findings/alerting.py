"""Which changes of findings' states become alerts, and what these say."""

from __future__ import annotations

from uuid import UUID

from agentidp.alerts import outbox
from agentidp.alerts.state_change import StateChange
from agentidp.db.organization import Transaction
from agentidp.findings.identity import ORGANIZATION, Happening, Reconciled, Tracked


def enqueue_alerts(opened: Transaction, result: Reconciled) -> None:
    """Put what happened to findings into the outbox, in the transaction that stores it.

    What is muted alerts nobody, except that a finding has ended that was reported since it last began: a target would
    else show it as going on for ever.
    """
    happened: dict[UUID, set[Happening]] = {}
    for change in result.changes:
        happened.setdefault(change.finding_id, set()).add(change.happening)
    alerting = [(one, name) for one in result.findings if (name := _alert(happened.get(one.finding_id, set())))]
    if not alerting:
        return
    mutes = opened.fetch("finding_state/mutes")
    for one, name in alerting:
        subjects = (one.subject, ORGANIZATION)
        if name == "resolved":
            is_due = _was_announced(opened, one)
        else:
            is_due = not any(mute.kind == one.kind and mute.subject in subjects for mute in mutes)
        if is_due:
            outbox.enqueue(opened, _state_change(opened, one, name))


def _alert(happened: set[Happening]) -> str | None:
    """One alert for what happened to a finding at once; none for one that was over already when it was first seen."""
    if Happening.resolved in happened:
        return "resolved"
    if happened & {Happening.opened, Happening.reopened}:
        return "opened"
    return "escalated" if Happening.escalated in happened else None


def _was_announced(opened: Transaction, one: Tracked) -> bool:
    """Whether a finding has alerted since it last began."""
    return bool(
        opened.fetch("finding_state/announced_changes", finding_id=one.finding_id, kind=one.kind, subject=one.subject)
    )


def _state_change(opened: Transaction, one: Tracked, name: str) -> StateChange:
    report = one.report
    subject = report["agentName"] or "organization"
    return StateChange(
        finding_id=one.finding_id,
        change=name,
        kind=one.kind,
        severity=(one.highest if name == "resolved" else one.severity).name,
        subject=subject,
        agent_id=None if one.subject == ORGANIZATION else UUID(one.subject),
        title=f"{one.kind.replace('_', ' ')}: {subject}",
        description=" ".join((report["summary"], report["causes"], report["next"])),
        opened_at=one.first_seen_at,
        at=opened.at,
    )
