"""Store and read findings. An evaluation writes them, everything else reads them.

The transaction locks the organization's evaluation first. Of two concurrent evaluations, the later instant wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, Found, findings, findings_query
from agentidp.findings.alerting import alerts_of, enqueue
from agentidp.findings.causes import urgency
from agentidp.findings.finding import FindingsQuery, KnownFinding, as_row, from_row
from agentidp.findings.identity import Happening, Reconciled, reconcile
from agentidp.findings.incidents import incidents
from agentidp.http.errors import existing

Run = Callable[..., list[Rows]]
"""Runs calls for one organization in one round trip, and returns the rows of each call."""

Fetch = Callable[..., Rows]
"""Runs the statement of a name with parameters, and returns its rows."""

OpenTransaction = Callable[[], AbstractContextManager[Transaction]]

STALE_TIMES = 2
"""Maximum age of a stored evaluation that is read, in intervals of ``agentidp watch``."""


def evaluate(run: Run, open_transaction: OpenTransaction, query: FindingsQuery) -> None:
    """Compute an organization's findings, and store the result in one transaction.

    Nothing is stored if another evaluation of the same or a later instant has been stored meanwhile.

    :raises DatabaseUnavailable: no kind could be computed, or the result could not be stored. Nothing has changed.
    """
    begins = monotonic()
    computed = findings(run, query)
    seconds = monotonic() - begins
    with open_transaction() as opened:
        store_evaluation(opened, computed, query, seconds)


def store_evaluation(
    opened: Transaction, computed: Found, query: FindingsQuery, seconds: float = 0.0
) -> list[KnownFinding]:
    """Store the state of an organization's findings after an evaluation.

    :param seconds: the time of the computation, for the metrics.
    :returns: the findings that are new or have changed.
    """
    [last] = opened.fetch("finding_state/lock_evaluation", since=query.since)
    is_covered = last.evaluated_at is not None and last.first_day <= query.since
    if is_covered and last.evaluated_at >= query.at:
        return []
    rows = opened.fetch("finding_state/stored_findings", ended_after=_midnight(query) - timedelta(days=1))
    result = reconcile([from_row(row) for row in rows], computed.findings, query.at, not_computed=computed.not_computed)
    if result.findings:
        _store(opened, result)
    # After a time without evaluations, the findings that ended in it are unknown.
    has_gap = last.evaluated_at is not None and last.evaluated_at.astimezone(UTC).date() < query.since
    opened.fetch(
        "finding_state/finish_evaluation",
        first_day=query.since if has_gap else min(last.first_day, query.since),
        not_computed=list(computed.not_computed),
        took=seconds,
    )
    return result.findings


def _store(opened: Transaction, result: Reconciled) -> None:
    escalated = {finding.finding_id for finding, happening in result.changes if happening is Happening.escalated}
    muted = {(mute.kind, mute.subject) for mute in opened.fetch("finding_state/mutes")}
    to_store, alerts = alerts_of(result.findings, muted, result.turned, escalated)
    opened.fetch("finding_state/store_findings", findings=Jsonb([as_row(finding) for finding in to_store]))
    for finding_id in escalated:
        opened.fetch("finding_state/withdraw_acknowledgement", finding_id=finding_id)
    record_changes(opened, result.changes)
    enqueue(opened, alerts)


def record_changes(
    opened: Transaction,
    changes: Iterable[tuple[KnownFinding, Happening]],
    *,
    changed_by: str | None = None,
    note: str | None = None,
) -> None:
    """Record changes of findings' states in their history.

    :param changed_by: the name of the agent or person; ``None`` for an evaluation.
    """
    rows = [
        {
            "change_id": str(uuid.uuid4()),
            "finding_id": str(finding.finding_id),
            "change": happening.value,
            "severity": finding.severity.name,
            "changed_by": changed_by,
            "note": note,
        }
        for finding, happening in changes
    ]
    if rows:
        opened.fetch("finding_state/add_changes", changes=Jsonb(rows))


@dataclass(frozen=True)
class Listing:
    """Stored findings, ongoing and most urgent ones first, and the evaluation that stored them.

    Findings that ended before ``first_day`` are unknown. The kinds in ``not_computed`` could not be computed.
    """

    findings: list[KnownFinding]
    evaluated_at: datetime
    first_day: date
    not_computed: tuple[str, ...]


def listing_of(
    run: Run,
    open_transaction: OpenTransaction,
    at: datetime,
    settings: Settings,
    *,
    days: int = DEFAULT_DAYS,
) -> Listing:
    """Return an organization's stored findings. Compute and store them first if there are none, or only old ones.

    :param days: the UTC days, today included, within which a finding may have ended.
    :raises DatabaseUnavailable: there are no stored findings, and no kind could be computed.
    """
    query = findings_query(at, settings, days=days)
    listing = _stored_listing(run, query)
    if listing and listing.first_day > query.since:
        listing = None
    if listing and at - listing.evaluated_at <= STALE_TIMES * timedelta(seconds=settings.watch_interval):
        return listing
    days_to_evaluate = DEFAULT_DAYS if listing else max(days, DEFAULT_DAYS)
    try:
        evaluate(run, open_transaction, findings_query(at, settings, days=days_to_evaluate))
    except DatabaseUnavailable:
        if listing is None:
            raise
        # The old findings say when they were computed.
        return listing
    # In a transaction, because a read replica may not have the evaluation yet.
    with open_transaction() as opened:
        listing = _stored_listing(lambda *calls: [opened.run(call) for call in calls], query)
    assert listing is not None  # noqa: S101 - an evaluation has just been stored
    return listing


def _stored_listing(run: Run, query: FindingsQuery) -> Listing | None:
    """Return the stored findings for the days of *query*; ``None`` before the first evaluation."""
    evaluations, rows = run(
        Call("finding_state/last_evaluation", {}),
        Call("finding_state/stored_findings", {"ended_after": _midnight(query)}),
    )
    if not evaluations:
        return None
    [last] = evaluations
    ongoing_first = sorted(
        map(from_row, rows), key=lambda finding: (not finding.is_ongoing, urgency(finding, query.at))
    )
    in_order = [finding for incident in incidents(ongoing_first) for finding in incident.findings]
    return Listing(in_order, last.evaluated_at.astimezone(UTC), last.first_day, tuple(last.not_computed))


def _midnight(query: FindingsQuery) -> datetime:
    return datetime.combine(query.since, time(), UTC)


def read_finding(fetch: Fetch, finding_id: UUID) -> KnownFinding:
    """Return a stored finding. Raise ``NotFound`` if the organization has no such finding."""
    return from_row(existing(fetch("finding_state/get_finding", finding_id=finding_id)))
