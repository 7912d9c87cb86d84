"""Decide which changes of findings' states become alerts, and write the alerts into the outbox."""

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
    """A message about a finding that was ``opened``, ``escalated`` or ``resolved``.

    ``is_for_others``: only targets that have received nothing about the finding get it.
    """

    finding: KnownFinding
    change: str
    severity: Severity
    is_for_others: bool = False


def alerts_of(
    findings: Iterable[KnownFinding],
    muted: Collection[tuple[str, str]],
    turned: Collection[UUID] = (),
    escalated: Collection[UUID] = (),
) -> tuple[list[KnownFinding], list[Alert]]:
    """Return the findings to store after an evaluation, with the severity that was announced, and the alerts.

    - A finding is opened and resolved once, and escalates once to a severity.
    - A muted finding sends no alert. If it is still ongoing when the mute ends, it is sent then. A finding that was
      opened is also resolved while it is muted, because a target would otherwise show it as ongoing for ever.
    - A finding that has turned to another kind is opened for the targets that wait for this kind, with the severity
      that other targets know; but not if this kind is muted then, nor later. If it becomes more severe at the same
      time, these targets get the escalation instead.
    - A reminder of a finding that was announced is sent once, as an escalation. During a mute it is not sent.

    :param findings: those that are new or have changed. Ongoing findings always have.
    :param muted: kind and subject of each mute that applies now.
    :param turned: the ids of ongoing findings that are of another kind than before.
    :param escalated: the ids of findings that have escalated now, also by a reminder with the same severity.
    """
    to_store: list[KnownFinding] = []
    alerts: list[Alert] = []
    for finding in findings:
        is_muted = any((finding.kind, subject) in muted for subject in (finding.subject, ORGANIZATION))
        if not finding.is_ongoing:
            if finding.announced is not None:
                alerts.append(Alert(finding, "resolved", min(finding.announced, finding.highest)))
        elif is_muted or finding.misses:
            pass
        elif finding.announced is None or finding.severity > finding.announced:
            change = "opened" if finding.announced is None else "escalated"
            alerts.append(Alert(finding, change, finding.severity))
            finding = replace(finding, announced=finding.severity)
        else:
            if finding.finding_id in turned:
                severity = min(finding.announced, finding.highest)
                alerts.append(Alert(finding, "opened", severity, is_for_others=True))
            if finding.finding_id in escalated and finding.severity == finding.announced:
                alerts.append(Alert(finding, "escalated", finding.severity))
        to_store.append(finding)
    return to_store, alerts


def enqueue(opened: Transaction, alerts: Iterable[Alert]) -> None:
    """Write alerts into the outbox, in the transaction that stores their findings."""
    for alert in alerts:
        finding = alert.finding
        subject = finding.agent_name or "organization"
        change = StateChange(
            finding_id=finding.finding_id,
            change=alert.change,
            kind=finding.kind,
            severity=alert.severity.name,
            subject=subject,
            agent_id=finding.agent_id,
            title=f"{finding.kind.replace('_', ' ')}: {subject}",
            description=" ".join((finding.summary, finding.causes, finding.next_step)),
            opened_at=finding.first_seen_at,
            at=opened.at,
        )
        contributors = [agent.agent_id for agent in finding.agents]
        outbox.enqueue(opened, change, contributors=contributors, is_for_others=alert.is_for_others)
