"""The stored findings: one evaluation writes them, everybody else reads them.

1. :func:`evaluate` computes an organization's findings, compares them with the stored ones
   (:func:`agentidp.findings.identity.reconcile`), and stores the result, its history and its alerts in one transaction.
2. The transaction locks the organization's evaluation first; of two evaluations at once, the later instant wins.
3. :func:`read_listing` and :func:`read_finding` return what is stored, with acknowledgements and mutes.
4. :func:`listing_of` returns the same, and evaluates first if nothing recent is stored.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, STORED_DAYS, Found, findings, findings_query
from agentidp.findings.alerting import alerts_of, enqueue
from agentidp.findings.causes import urgency
from agentidp.findings.finding import Finding, FindingsQuery, finding_of
from agentidp.findings.identity import ORGANIZATION, Change, Happening, Reconciled, Tracked, as_row, from_row, reconcile
from agentidp.http.errors import RateLimited
from agentidp.http.schemas import timestamp

Run = Callable[..., list[Rows]]
"""Runs the calls given to it for one organization, all in one round trip, and returns the rows of each."""

OpenTransaction = Callable[[], AbstractContextManager[Transaction]]

STALE_TIMES = 2
"""Intervals of ``agentidp watch`` after which a stored evaluation is too old to be read."""

DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class KnownFinding:
    """A stored finding: what was reported last, and its state."""

    finding: Finding
    finding_id: UUID
    kind: str
    subject: str
    first_seen_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None
    muted_until: datetime | None

    @property
    def is_ongoing(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None

    def represent(self) -> dict[str, Any]:
        """As our JSON: the finding's, and then its state."""
        return self.finding.represent() | {
            "findingId": str(self.finding_id),
            "state": "ongoing" if self.is_ongoing else "ended",
            "firstSeenAt": timestamp(self.first_seen_at),
            "lastSeenAt": timestamp(self.last_seen_at),
            "endedAt": timestamp(self.ended_at),
            "acknowledgedAt": timestamp(self.acknowledged_at),
            "acknowledgedBy": self.acknowledged_by,
            "note": self.note,
            "mutedUntil": timestamp(self.muted_until),
        }


@dataclass(frozen=True)
class Listing:
    """Stored findings, those that are ongoing and most urgent first, and the evaluation that stored them: when; from
    which day on what ended is known; the kinds about which it knows nothing.
    """

    findings: list[KnownFinding]
    evaluated_at: datetime
    first_day: date
    not_computed: tuple[str, ...]

    def reaches_back(self, at: datetime, days: int) -> bool:
        """Whether what ended in the last *days* UTC days is known."""
        return self.first_day <= first_of(days, at)

    def is_fresh(self, at: datetime, days: int, interval: float) -> bool:
        """Whether the findings are recent enough, and reach back *days* days.

        :param interval: seconds between two evaluations.
        """
        is_recent = at - self.evaluated_at <= STALE_TIMES * timedelta(seconds=interval)
        return is_recent and self.reaches_back(at, days)


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


def store_evaluation(opened: Transaction, found: Found, query: FindingsQuery, took: float = 0.0) -> tuple[Tracked, ...]:
    """Store what became of an organization's findings now that these were found.

    :param took: the seconds that it took to find them, for the metrics.
    :returns: the findings that are new or have changed.
    """
    [last] = opened.fetch("finding_state/lock_evaluation", since=query.since)
    is_known = last.evaluated_at is not None and last.first_day <= query.since
    if is_known and last.evaluated_at >= query.at:
        return ()
    stored = opened.fetch("finding_state/stored_findings", ended_after=midnight(query.since) - DAY)
    result = reconcile(
        [from_row(row) for row in stored],
        found.findings,
        query.at,
        not_computed=found.not_computed,
        new_id=uuid.uuid4,
    )
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
    if not result.findings:
        return
    muted = {(mute.kind, mute.subject) for mute in opened.fetch("finding_state/mutes")}
    findings, alerts = alerts_of(result.findings, muted, result.turned, result.reminded)
    opened.fetch("finding_state/store_findings", findings=Jsonb([as_row(one) for one in findings]))
    for change in result.changes:
        if change.happening is Happening.escalated:
            opened.fetch("finding_state/withdraw_acknowledgement", finding_id=change.finding_id)
    record_changes(opened, result.changes)
    enqueue(opened, alerts)


def record_changes(
    opened: Transaction, changes: Iterable[Change], *, changed_by: str | None = None, note: str | None = None
) -> None:
    """Record what happened to findings.

    :param changed_by: the name of who did it; ``None`` if an evaluation did.
    """
    rows = [
        {
            "change_id": str(uuid.uuid4()),
            "finding_id": str(change.finding_id),
            "change": change.happening.value,
            "severity": change.severity.name,
            "changed_by": changed_by,
            "note": note,
        }
        for change in changes
    ]
    if rows:
        opened.fetch("finding_state/add_changes", changes=Jsonb(rows))


def read_listing(run: Run, at: datetime, days: int) -> Listing | None:
    """The stored findings that go on or ended within *days* UTC days, today included; ``None`` before an evaluation."""
    evaluations, rows, mutes = run(
        Call("finding_state/last_evaluation", {}),
        Call("finding_state/list_findings", {"ended_after": midnight(first_of(days, at))}),
        Call("finding_state/mutes", {}),
    )
    if not evaluations:
        return None
    [last] = evaluations
    known = known_findings(rows, mutes)
    known.sort(key=lambda one: (not one.is_ongoing, urgency(one.finding, at)))
    return Listing(known, last.evaluated_at.astimezone(UTC), last.first_day, tuple(last.not_computed))


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
    listing = read_listing(run, at, days)
    if listing and listing.is_fresh(at, days, settings.watch_interval):
        return listing
    reaches = listing is not None and listing.reaches_back(at, days)
    look_back = STORED_DAYS if reaches else max(days, STORED_DAYS)
    try:
        with turn():
            evaluate(run, open_transaction, findings_query(at, settings, days=look_back))
    except (RateLimited, DatabaseUnavailable):
        if listing is None or not reaches:
            raise
        # Old ones that say how old they are.
        return listing
    # In a transaction, because a replica may not have it yet.
    with open_transaction() as opened:
        listing = read_listing(lambda *calls: [opened.run(call) for call in calls], at, days)
    assert listing is not None  # noqa: S101 - one has just been stored
    return listing


def read_finding(run: Run, finding_id: UUID) -> KnownFinding | None:
    """One stored finding; ``None`` if there is no such finding."""
    rows, mutes = run(
        Call("finding_state/get_finding", {"finding_id": finding_id}),
        Call("finding_state/mutes", {}),
    )
    return next(iter(known_findings(rows, mutes)), None)


def known_findings(rows: Rows, mutes: Rows) -> list[KnownFinding]:
    """Rows of ``finding_state/list_findings`` or ``finding_state/get_finding``, and of ``finding_state/mutes``."""
    muted = {(mute.kind, mute.subject): mute.until for mute in mutes}
    return [
        KnownFinding(
            finding=finding_of(row.report),
            finding_id=row.finding_id,
            kind=row.kind,
            subject=row.subject,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
            ended_at=row.ended_at,
            acknowledged_at=row.acknowledged_at,
            acknowledged_by=row.acknowledged_by,
            note=row.note,
            muted_until=max(
                (muted[row.kind, subject] for subject in (row.subject, ORGANIZATION) if (row.kind, subject) in muted),
                default=None,
            ),
        )
        for row in rows
    ]


def midnight(day: date) -> datetime:
    """When a UTC day begins."""
    return datetime.combine(day, time(), UTC)


def first_of(days: int, at: datetime) -> date:
    """The first of so many UTC days, of which the day of *at* is the last."""
    return at.astimezone(UTC).date() - timedelta(days=days - 1)
