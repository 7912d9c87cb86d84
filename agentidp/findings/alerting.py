"""Decide which changes of findings' states become alerts, and write the alerts into the outbox."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from agentidp.alerts import outbox
from agentidp.alerts.state_change import StateChange, kind_label
from agentidp.db.organization import Transaction
from agentidp.findings.finding import ORGANIZATION, Severity, StoredFinding


@dataclass(frozen=True)
class Alert:
    """A message about a finding that was ``opened``, ``escalated`` or ``resolved``."""

    finding: StoredFinding
    change: str
    severity: Severity
    is_for_new_receivers: bool = False  # whether targets that already show the finding are left out


def decide_alerts(
    findings: Iterable[StoredFinding],
    mutes: Collection[tuple[str, str]],
    changed_kind_ids: Collection[UUID] = (),
    escalated_ids: Collection[UUID] = (),
) -> tuple[list[StoredFinding], list[Alert]]:
    """Return the findings to store after an evaluation, with their announced severities, and the alerts to send.

    - A finding sends one alert when it opens, one per severity to which it escalates, and one when it is resolved.
    - A muted finding sends no alert until the mute ends, except for the end of the finding, because a target would
      otherwise show the finding as ongoing for ever.
    - A finding whose kind changes sends the alert ``opened`` to targets that select the new kind, unless it is muted.
    - A reminder is sent once, as an escalation, if the finding was announced and is not muted.

    :param findings: the findings that are new or have changed, among them all ongoing findings.
    :param mutes: the (kind, subject) of each mute that applies now.
    :param changed_kind_ids: the ids of ongoing findings that are of another kind than before.
    :param escalated_ids: the ids of findings that have escalated now, even if only by a reminder.
    """
    findings_to_store: list[StoredFinding] = []
    alerts: list[Alert] = []
    for finding in findings:
        is_muted = any((finding.kind, subject) in mutes for subject in (finding.subject, ORGANIZATION))
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
            if finding.finding_id in changed_kind_ids:
                severity = min(finding.announced, finding.highest)
                alerts.append(Alert(finding, "opened", severity, is_for_new_receivers=True))
            if finding.finding_id in escalated_ids and finding.severity == finding.announced:
                alerts.append(Alert(finding, "escalated", finding.severity))
        findings_to_store.append(finding)
    return findings_to_store, alerts


def enqueue_alerts(transaction: Transaction, alerts: Iterable[Alert]) -> None:
    """Write alerts to the outbox, in the transaction that stores their findings."""
    for alert in alerts:
        finding = alert.finding
        subject_name = finding.agent_name or "organization"
        state_change = StateChange(
            finding_id=finding.finding_id,
            change=alert.change,
            kind=finding.kind,
            severity=alert.severity.name,
            subject=subject_name,
            agent_id=finding.agent_id,
            title=f"{kind_label(finding.kind)}: {subject_name}",
            description=" ".join((finding.summary, finding.causes, finding.next_step)),
            opened_at=finding.first_seen_at,
            at=transaction.at,
        )
        contributor_ids = [agent.agent_id for agent in finding.agents]
        outbox.enqueue_alert(
            transaction, state_change, contributors=contributor_ids, is_for_new_receivers=alert.is_for_new_receivers
        )
