"""Store the findings of an evaluation, and read the stored findings.

The transaction locks the organization's evaluation first. Of two concurrent evaluations, the later instant wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call, Rows, Run
from agentidp.findings import DEFAULT_DAYS, ComputedFindings, build_findings_query, compute_findings
from agentidp.findings.alerting import decide_alerts, enqueue_alerts
from agentidp.findings.causes import compute_urgency
from agentidp.findings.finding import FindingsQuery, StoredFinding, finding_from_row, finding_to_row
from agentidp.findings.history import DAY, instant
from agentidp.findings.identity import FindingChange, Reconciliation, reconcile
from agentidp.findings.incidents import group_into_incidents
from agentidp.http.errors import require_row

Fetch = Callable[..., Rows]
"""Runs a statement, by name and parameters, and returns its rows."""

OpenTransaction = Callable[[], AbstractContextManager[Transaction]]

MAX_AGE_IN_INTERVALS = 2  # maximum age of a stored evaluation that is read, in intervals of ``agentidp watch``


def evaluate(run: Run, open_transaction: OpenTransaction, query: FindingsQuery) -> None:
    """Compute an organization's findings, and store them unless a later evaluation was stored meanwhile.

    :raises DatabaseUnavailable: no kind could be computed, or the result could not be stored. Nothing has changed.
    """
    began_at = monotonic()
    computed_findings = compute_findings(run, query)
    evaluation_seconds = monotonic() - began_at
    with open_transaction() as transaction:
        store_evaluation(transaction, computed_findings, query, evaluation_seconds)


def store_evaluation(
    transaction: Transaction, computed: ComputedFindings, query: FindingsQuery, seconds: float = 0.0
) -> list[StoredFinding]:
    """Store an organization's findings after an evaluation, and return the findings that are new or have changed.

    :param seconds: the duration of the computation, for the metrics.
    """
    [last_evaluation] = transaction.fetch("finding_state/lock_evaluation", since=query.since)
    evaluated_at = last_evaluation.evaluated_at
    if evaluated_at is not None and last_evaluation.first_day <= query.since and evaluated_at >= query.at:
        return []
    stored_rows = transaction.fetch("finding_state/stored_findings", ended_after=instant(query.since, -DAY))
    stored_findings = [*map(finding_from_row, stored_rows)]
    reconciliation = reconcile(stored_findings, computed.findings, query.at, not_computed=computed.not_computed)
    if reconciliation.findings:
        _store_reconciliation(transaction, reconciliation)
    # If the last evaluation was before this evaluation's first day, findings that ended in between are unknown.
    has_gap = evaluated_at is not None and evaluated_at.astimezone(UTC).date() < query.since
    transaction.fetch(
        "finding_state/finish_evaluation",
        first_day=query.since if has_gap else min(last_evaluation.first_day, query.since),
        not_computed=list(computed.not_computed),
        took=seconds,
    )
    return reconciliation.findings


def _store_reconciliation(transaction: Transaction, reconciliation: Reconciliation) -> None:
    escalated_ids = {
        finding.finding_id for finding, change in reconciliation.changes if change is FindingChange.escalated
    }
    mutes = {(mute_row.kind, mute_row.subject) for mute_row in transaction.fetch("finding_state/mutes")}
    findings, alerts = decide_alerts(reconciliation.findings, mutes, reconciliation.changed_kind_ids, escalated_ids)
    transaction.fetch("finding_state/store_findings", findings=Jsonb([*map(finding_to_row, findings)]))
    for finding_id in escalated_ids:
        transaction.fetch("finding_state/withdraw_acknowledgement", finding_id=finding_id)
    record_changes(transaction, reconciliation.changes)
    enqueue_alerts(transaction, alerts)


def record_changes(
    transaction: Transaction,
    changes: Iterable[tuple[StoredFinding, FindingChange]],
    *,
    changed_by: str | None = None,
    note: str | None = None,
) -> None:
    """Record changes of findings' states in their history. *changed_by* is ``None`` for an evaluation."""
    change_rows = [
        {
            "change_id": str(uuid.uuid4()),
            "finding_id": str(finding.finding_id),
            "change": change.value,
            "severity": finding.severity.name,
            "changed_by": changed_by,
            "note": note,
        }
        for finding, change in changes
    ]
    if change_rows:
        transaction.fetch("finding_state/add_changes", changes=Jsonb(change_rows))


@dataclass(frozen=True)
class Listing:
    """Stored findings, the ongoing and most urgent ones first, and the evaluation that stored them.

    Findings that ended before ``first_day`` are not known. The kinds in ``not_computed`` could not be computed.
    """

    findings: list[StoredFinding]
    evaluated_at: datetime
    first_day: date
    not_computed: tuple[str, ...]


def read_listing(
    run: Run, open_transaction: OpenTransaction, at: datetime, settings: Settings, *, days: int = DEFAULT_DAYS
) -> Listing:
    """Return the stored findings of the last *days* days. Compute and store them first if they are missing or too old.

    :raises DatabaseUnavailable: no stored findings cover these days, and the evaluation failed.
    """
    query = build_findings_query(at, settings, days=days)
    listing = _read_stored_listing(run, query)
    if listing and listing.first_day > query.since:
        listing = None
    if listing and at - listing.evaluated_at <= MAX_AGE_IN_INTERVALS * timedelta(seconds=settings.watch_interval):
        return listing
    days_to_evaluate = DEFAULT_DAYS if listing else max(days, DEFAULT_DAYS)
    try:
        evaluate(run, open_transaction, build_findings_query(at, settings, days=days_to_evaluate))
    except DatabaseUnavailable:
        if listing is None:
            raise
        # The older findings are returned, because the database is unavailable. ``evaluated_at`` shows their age.
        return listing
    # A transaction reads from the primary, because a read replica may not have the new evaluation yet.
    with open_transaction() as transaction:
        listing = _read_stored_listing(lambda *calls: [transaction.run(call) for call in calls], query)
    assert listing is not None  # noqa: S101 - an evaluation has just been stored
    return listing


def _read_stored_listing(run: Run, query: FindingsQuery) -> Listing | None:
    """Return the stored findings for the days of *query*, or ``None`` before the first evaluation."""
    evaluation_rows, finding_rows = run(
        Call("finding_state/last_evaluation", {}),
        Call("finding_state/stored_findings", {"ended_after": instant(query.since, 0)}),
    )
    if not evaluation_rows:
        return None
    [last_evaluation] = evaluation_rows
    stored_findings = [*map(finding_from_row, finding_rows)]
    stored_findings.sort(key=lambda finding: (not finding.is_ongoing, compute_urgency(finding, query.at)))
    sorted_findings = [finding for incident in group_into_incidents(stored_findings) for finding in incident.findings]
    return Listing(
        sorted_findings,
        last_evaluation.evaluated_at.astimezone(UTC),
        last_evaluation.first_day,
        tuple(last_evaluation.not_computed),
    )


def read_finding(fetch: Fetch, finding_id: UUID) -> StoredFinding:
    """Return a stored finding, or raise ``NotFound`` if the organization has no such finding."""
    return finding_from_row(require_row(fetch("finding_state/get_finding", finding_id=finding_id)))
