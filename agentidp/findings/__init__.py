"""Unusual usage, with its likely cause.

A kind of finding is a module here and a statement in ``sql/findings``. Most statements select candidates and their
histories, which the module judges; ``dominance`` has the statement of an analytics endpoint. Thresholds are in
:mod:`agentidp.findings.thresholds`.

What is computed here gets identity and state in :mod:`agentidp.findings.identity`, and is stored and read by
:mod:`agentidp.findings.store`. :mod:`agentidp.findings.listing` and :mod:`agentidp.findings.actions` are the endpoints.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings import markers
from agentidp.findings.causes import one_per_cause, urgency
from agentidp.findings.contributors import with_contributors
from agentidp.findings.finding import Finding, FindingsQuery
from agentidp.findings.kinds import KINDS
from agentidp.findings.uncached_tokens import as_one_finding

MARKERS = "markers"
"""What is read beside the kinds."""

DEFAULT_DAYS = 7
"""How many UTC days back ``agentidp watch`` looks, today included, and a request that does not say how many. One that
goes further back computes its findings itself.
"""

MAX_SECONDS = 5.0
"""For the kinds one by one, once they failed together: a kind that has not begun by then is not computed."""


@dataclass(frozen=True)
class Found:
    """Findings, the most urgent first, and the kinds whose statement failed or ran out of time."""

    findings: list[Finding]
    not_computed: tuple[str, ...] = ()


def findings_query(at: datetime, settings: Settings, *, days: int = DEFAULT_DAYS) -> FindingsQuery:
    """Return a query with the service's token lifetime, by default the one that ``agentidp watch`` evaluates."""
    return FindingsQuery(at=at, days=days, token_ttl=settings.token_ttl, of_registered=True)


def findings(run: Callable[..., list[Rows]], query: FindingsQuery) -> Found:
    """The findings of an organization.

    :param run: runs the calls given to it for the organization at ``query.at``, all in one round trip, and returns the
        rows of each. There is a second one if a budget or a quota of the organization is reported.
    :raises DatabaseUnavailable: no kind could be computed.
    """
    kinds = {name: kind for name, kind in KINDS.items() if query.of_registered or not kind.reads_registry}
    rows = _rows(run, {MARKERS: markers.call(query)} | {name: kind.call(query) for name, kind in kinds.items()})
    noticed = rows.pop(MARKERS, [])
    query = markers.with_holidays(query, noticed)
    found = [finding for name in rows for finding in kinds[name].findings(rows[name], query)]
    found = as_one_finding(with_contributors(run, one_per_cause(found), query))
    found = [markers.explained(one, noticed) for one in found]
    found.sort(key=lambda one: urgency(one, query.at))
    return Found(found, tuple(name for name in kinds if name not in rows))


def _rows(run: Callable[..., list[Rows]], calls: dict[str, Call]) -> dict[str, Rows]:
    """The rows of each call by its name, without those whose statement fails on its own."""
    try:
        return dict(zip(calls, run(*calls.values()), strict=True))
    except DatabaseUnavailable as unavailable:
        # One statement that runs out of time takes the others with it.
        rows, deadline = {}, time.monotonic() + MAX_SECONDS
        for name, call in calls.items():
            if time.monotonic() < deadline:
                with contextlib.suppress(DatabaseUnavailable):
                    [rows[name]] = run(call)
        if not rows.keys() - {MARKERS}:
            raise unavailable
        return rows
