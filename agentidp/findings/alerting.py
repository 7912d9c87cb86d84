"""Which changes of findings' states become alerts, and what these say."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from agentidp.alerts import outbox
from agentidp.alerts.state_change import StateChange
from agentidp.db.organization import Transaction
from agentidp.findings.finding import ORGANIZATION, KnownFinding, Severity


@dataclass(frozen=True)
class Alert:
    """What is sent about a finding: it is ``opened``, ``escalated`` or ``resolved``.

    ``is_for_others`` says that it is for those targets only that know nothing of the finding.
    """

    finding: KnownFinding
    change: str
    severity: Severity
    is_for_others: bool = False


def alerts_of(
    found: Iterable[KnownFinding],
    muted: Collection[tuple[str, str]],
    turned: Collection[UUID] = (),
    escalated: Collection[UUID] = (),
) -> tuple[list[KnownFinding], list[Alert]]:
    """What is sent after an evaluation. Each finding is opened and is resolved once, and escalates once to a severity.

    A muted finding alerts nobody. What it then keeps quiet about is sent when the mute ends, if it still goes on. One
    that was opened is resolved also while it is muted: a target would else show it as going on for ever. One that has
    turned to another kind is opened for those that wait for this kind, with the severity that others know; but
    not if this kind is muted then, nor later. If it becomes more severe at the same time, they get that instead.

    A reminder of a finding that was announced is sent once, as an escalation; one that falls into a mute is not sent.

    :param found: those that are new or have changed, which those that go on always have.
    :param muted: kind and subject of each mute that applies now.
    :param turned: the findings that go on and are of another kind than before.
    :param escalated: the findings that have escalated now: also because of a reminder, with the same severity.
    :returns: the findings to store, with what has been announced, and the alerts.
    """
    findings: list[KnownFinding] = []
    alerts: list[Alert] = []
    for one in found:
        is_muted = any((one.kind, subject) in muted for subject in (one.subject, ORGANIZATION))
        if not one.is_ongoing:
            if one.announced is not None:
                alerts.append(Alert(one, "resolved", min(one.announced, one.highest)))
        elif is_muted or one.misses:
            pass
        elif one.announced is None or one.severity > one.announced:
            alerts.append(Alert(one, "opened" if one.announced is None else "escalated", one.severity))
            one = replace(one, announced=one.severity)
        else:
            if one.finding_id in turned:
                alerts.append(Alert(one, "opened", min(one.announced, one.highest), is_for_others=True))
            if one.finding_id in escalated and one.severity == one.announced:
                alerts.append(Alert(one, "escalated", one.severity))
        findings.append(one)
    return findings, alerts


def enqueue(opened: Transaction, alerts: Iterable[Alert]) -> None:
    """Put alerts into the outbox, in the transaction that stores their findings."""
    for alert in alerts:
        one = alert.finding
        subject = one.agent_name or "organization"
        change = StateChange(
            finding_id=one.finding_id,
            change=alert.change,
            kind=one.kind,
            severity=alert.severity.name,
            subject=subject,
            agent_id=one.agent_id,
            title=f"{one.kind.replace('_', ' ')}: {subject}",
            description=" ".join((one.summary, one.causes, one.next_step)),
            opened_at=one.first_seen_at,
            at=opened.at,
        )
        contributors = [agent.agent_id for agent in one.agents]
        outbox.enqueue(opened, change, contributors=contributors, is_for_others=alert.is_for_others)
