"""The stored findings: one evaluation writes them, everybody else reads them.

1. :func:`evaluate` computes an organization's findings, compares them with the stored ones
   (:func:`agentidp.findings.identity.reconcile`), and stores the result, its history and its alerts in one transaction.
2. The transaction locks the organization's evaluation first; of two evaluations at once, the later instant wins.
3. :func:`listing_of` and :func:`read_finding` return what is stored, with acknowledgements and mutes. The former
   evaluates first if nothing recent is stored.
"""

from __future__ import annotations

import contextlib
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
from agentidp.http.errors import RateLimited, existing

Run = Callable[..., list[Rows]]
"""Runs the calls given to it for one organization, all in one round trip, and returns the rows of each."""

Fetch = Callable[..., Rows]
"""Runs the statement of a name with the parameters given to it, and returns its rows."""

OpenTransaction = Callable[[], AbstractContextManager[Transaction]]

STALE_TIMES = 2
"""Intervals of ``agentidp watch`` after which a stored evaluation is too old to be read."""


def evaluate(run: Run, open_transaction: OpenTransaction, query: FindingsQuery) -> None:
    """Compute an organization's findings and store what became of each, in one transaction.

    If another evaluation of the same instant or a later one has been stored meanwhile, nothing is stored.

    :param run: reads, as in :func:`agentidp.findings.findings`.
    :raises DatabaseUnavailable: no kind could be computed, or the result could not be stored. Nothing has changed.
    """
    begins = monotonic()
    found = findings(run, query)
    took = monotonic() - begins
    with open_transaction() as opened:
        store_evaluation(opened, found, query, took)


def store_evaluation(opened: Transaction, found: Found, query: FindingsQuery, took: float = 0.0) -> list[KnownFinding]:
    """Store what became of an organization's findings now that these were found.

    :param took: the seconds that it took to find them, for the metrics.
    :returns: the findings that are new or have changed.
    """
    [last] = opened.fetch("finding_state/lock_evaluation", since=query.since)
    is_known = last.evaluated_at is not None and last.first_day <= query.since
    if is_known and last.evaluated_at >= query.at:
        return []
    stored = opened.fetch("finding_state/stored_findings", ended_after=_midnight(query) - timedelta(days=1))
    known = [from_row(row) for row in stored]
    result = reconcile(known, found.findings, query.at, not_computed=found.not_computed)
    if result.findings:
        _store(opened, result)
    # After a time without evaluations, what ended in it is unknown.
    has_gap = last.evaluated_at is not None and last.evaluated_at.astimezone(UTC).date() < query.since
    opened.fetch(
        "finding_state/finish_evaluation",
        first_day=query.since if has_gap else min(last.first_day, query.since),
        not_computed=list(found.not_computed),
        took=took,
    )
    return result.findings


def _store(opened: Transaction, result: Reconciled) -> None:
    """Store the findings, record the changes, and put the alerts about them into the outbox."""
    escalated = {one.finding_id for one, happening in result.changes if happening is Happening.escalated}
    muted = {(mute.kind, mute.subject) for mute in opened.fetch("finding_state/mutes")}
    findings, alerts = alerts_of(result.findings, muted, result.turned, escalated)
    opened.fetch("finding_state/store_findings", findings=Jsonb([as_row(one) for one in findings]))
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
    """Record what happened to findings.

    :param changed_by: the name of who did it; ``None`` if an evaluation did.
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
    """Stored findings, those that are ongoing and most urgent first, and the evaluation that stored them: when; from
    which day on what ended is known; the kinds about which it knows nothing.
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
    turn: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Listing:
    """An organization's stored findings. They are computed and stored first if there are none, or only old ones
    because nothing watches.

    :param days: how many UTC days back a finding may have ended, today included.
    :param turn: in which they are computed; it may refuse that as :class:`RateLimited`.
    :raises DatabaseUnavailable: they had to be computed, and no kind could be.
    """
    query = findings_query(at, settings, days=days)
    listing = _stored_listing(run, query)
    if listing and listing.first_day > query.since:
        # What ended before that is unknown.
        listing = None
    if listing and at - listing.evaluated_at <= STALE_TIMES * timedelta(seconds=settings.watch_interval):
        return listing
    look_back = DEFAULT_DAYS if listing else max(days, DEFAULT_DAYS)
    try:
        with turn():
            evaluate(run, open_transaction, findings_query(at, settings, days=look_back))
    except (RateLimited, DatabaseUnavailable):
        if listing is None:
            raise
        # Old ones that say how old they are.
        return listing
    # In a transaction, because a replica may not have it yet.
    with open_transaction() as opened:
        listing = _stored_listing(lambda *calls: [opened.run(call) for call in calls], query)
    assert listing is not None  # noqa: S101 - one has just been stored
    return listing


def _stored_listing(run: Run, query: FindingsQuery) -> Listing | None:
    """The stored findings that go on or ended within the days of *query*; ``None`` before the first evaluation."""
    evaluations, rows = run(
        Call("finding_state/last_evaluation", {}),
        Call("finding_state/stored_findings", {"ended_after": _midnight(query)}),
    )
    if not evaluations:
        return None
    [last] = evaluations
    known = sorted(map(from_row, rows), key=lambda one: (not one.is_ongoing, urgency(one, query.at)))
    known = [one for incident in incidents(known) for one in incident.findings]
    return Listing(known, last.evaluated_at.astimezone(UTC), last.first_day, tuple(last.not_computed))


def _midnight(query: FindingsQuery) -> datetime:
    """When the first of the days begins."""
    return datetime.combine(query.since, time(), UTC)


def read_finding(fetch: Fetch, finding_id: UUID) -> KnownFinding:
    """One stored finding.

    :raises NotFound: there is no such finding in the organization.
    """
    return from_row(existing(fetch("finding_state/get_finding", finding_id=finding_id)))
