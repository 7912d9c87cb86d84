"""Compute the findings of an organization: unusual usage with its likely cause.

A kind of finding is a module of this package and a statement in ``sql/findings``. Most statements select candidates
and their histories, which the module judges. :mod:`agentidp.findings.identity` gives the computed findings an id and a
state, and :mod:`agentidp.findings.store` stores and reads them.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows, Run
from agentidp.findings import markers
from agentidp.findings.causes import compute_urgency, merge_same_causes
from agentidp.findings.contributors import name_contributors
from agentidp.findings.finding import Finding, FindingsQuery
from agentidp.findings.kinds import KINDS
from agentidp.findings.uncached_tokens import merge_uncached_tokens

MARKERS = "markers"
DEFAULT_DAYS = 7  # number of UTC days, today included, that ``agentidp watch`` evaluates, and the default of a request
MAX_SECONDS = 5.0  # maximum seconds for computing the kinds one by one, if computing all kinds together has failed


@dataclass(frozen=True)
class ComputedFindings:
    """The computed findings, most urgent first, and the kinds that were not computed because their statement failed."""

    findings: list[Finding]
    not_computed: tuple[str, ...] = ()


def build_findings_query(at: datetime, settings: Settings, *, days: int = DEFAULT_DAYS) -> FindingsQuery:
    """Return a query for the findings of the last *days* UTC days, today included."""
    return FindingsQuery(at=at, days=days, token_ttl=settings.token_ttl, includes_registry=True)


def compute_findings(run: Run, query: FindingsQuery) -> ComputedFindings:
    """Return the findings of the organization for which *run* runs calls.

    :raises DatabaseUnavailable: no kind could be computed.
    """
    kinds = {kind_name: kind for kind_name, kind in KINDS.items() if query.includes_registry or not kind.reads_registry}
    calls_by_name = {MARKERS: markers.build_call(query)}
    calls_by_name |= {kind_name: kind.build_call(query) for kind_name, kind in kinds.items()}
    rows_by_name = _read_rows(run, calls_by_name)
    marker_rows = rows_by_name.pop(MARKERS, [])
    query = markers.add_holidays(query, marker_rows)
    findings = [
        finding
        for kind_name, rows in rows_by_name.items()
        for finding in kinds[kind_name].compute_findings(rows, query)
    ]
    findings = merge_uncached_tokens(name_contributors(run, merge_same_causes(findings), query))
    findings = [markers.explain_by_markers(finding, marker_rows) for finding in findings]
    findings.sort(key=lambda finding: compute_urgency(finding, query.at))
    return ComputedFindings(findings, tuple(kind_name for kind_name in kinds if kind_name not in rows_by_name))


def _read_rows(run: Run, calls: dict[str, Call]) -> dict[str, Rows]:
    """Return the rows of the calls by name. If the calls fail together, run each alone, and omit failed calls."""
    try:
        return dict(zip(calls, run(*calls.values()), strict=True))
    except DatabaseUnavailable as unavailable:
        # All statements of a round trip fail if one of them exceeds its time, so each call is repeated separately.
        rows_by_name, deadline = {}, time.monotonic() + MAX_SECONDS
        for statement_name, call in calls.items():
            if time.monotonic() < deadline:
                with contextlib.suppress(DatabaseUnavailable):
                    [rows_by_name[statement_name]] = run(call)
        if not rows_by_name.keys() - {MARKERS}:
            raise unavailable
        return rows_by_name
