"""Selection of the findings that a page shows."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.comparison import Comparison
from agentidp.dashboard.period import DAY, Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings import thresholds
from agentidp.findings.finding import Severity, StoredFinding
from agentidp.findings.incidents import Incident, group_into_incidents
from agentidp.findings.listing import read_callers_listing
from agentidp.findings.store import Listing
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""Maximum number of findings that a page shows."""

RECENT = timedelta(days=7)
"""Maximum time since a finding's end for which it counts as recent."""

MIN_EQUAL = 3
"""Minimum number of similar findings about different agents that a list shows as a single row."""

EQUAL = {
    "dormant_agent": f"agents have not asked for a token for {thresholds.DORMANT_DAYS} days or more",
    "expiring_credential": f"credentials end within {thresholds.EXPIRY_REMINDERS[0]} days",
    "quota": "agents have nearly used a quota",
    "rejections": "agents have unusually many rejected requests",
    "silence": "agents have stopped making requests",
    "unused_credential": f"credentials have not been used for {thresholds.UNUSED_DAYS} days or more",
}
"""The sentence for a row of several similar findings, by kind. The number of findings comes before these words."""

USED_QUOTAS = {
    Severity.warning: "agents have used up a quota, which refuses no token",
    Severity.critical: "agents have used up a quota, which refuses their tokens",
}
"""The sentence for a row of several used quotas, by severity. The number of findings comes before these words."""

BadgesByAgent = dict[UUID, list[StoredFinding]]
"""The findings that are badges next to an agent's name, by agent, the most severe first."""


@dataclass(frozen=True, slots=True)
class PageFindings:
    """The findings that a page shows.

    :param shown: findings about the period; ``None`` if computing them failed, because the database was slow or busy.
    :param folded: further findings about the period, which the page shows after a click.
    :param outside: ongoing findings that are not about the period.
    :param not_computed: kinds that could not be computed at the last evaluation.
    :param earlier_findings: findings about the earlier days that the period is compared with.
    """

    shown: list[StoredFinding] | None
    folded: list[StoredFinding]
    outside: list[StoredFinding]
    not_computed: tuple[str, ...]
    known_from: date
    earlier_findings: list[StoredFinding] = field(default_factory=list)

    def list_ids_on_page(self, max_incidents: int) -> set[UUID]:
        """Return the ids of the findings in the first *max_incidents* incidents, which the page shows in rows."""
        incidents = group_into_incidents(self.shown or []) + group_into_incidents(self.folded)
        return {finding.finding_id for incident in incidents[:max_incidents] for finding in incident.findings}

    @property
    def listed(self) -> list[StoredFinding]:
        """All findings about the period, in the order of the page."""
        return [*(self.shown or []), *self.folded]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list of findings: an incident, or several similar findings about different agents.

    :param equal: all similar findings, of which ``incident`` is the first; empty if the row is an incident.
    """

    incident: Incident
    equal: tuple[StoredFinding, ...] = ()

    @property
    def sentence(self) -> str:
        """The sentence about the row's similar findings. It begins with the number of findings."""
        first_finding = self.incident.head
        quota_words = USED_QUOTAS.get(first_finding.severity) if first_finding.kind == "quota" else None
        return f"{len(self.equal):,} {quota_words or EQUAL[first_finding.kind]}"

    @property
    def agent_names(self) -> list[str]:
        """The names of the agents of the row's similar findings."""
        return list(dict.fromkeys(finding.agent_name or "" for finding in self.equal))

    @property
    def dated(self) -> StoredFinding:
        """The finding whose time the row shows: the first to begin or, if the findings have ended, the last to end."""
        findings = self.equal or (self.incident.head,)
        if self.incident.head.is_ongoing:
            return min(findings, key=lambda finding: finding.since or finding.begins)
        return max(findings, key=lambda finding: finding.ended_at or finding.ends)


def build_finding_rows(incidents: list[Incident]) -> list[Row]:
    """Return the rows of a list of incidents. Similar findings are one row, at the place of the first of them."""
    incidents_by_key: dict[tuple[object, ...], list[Incident]] = {}
    for incident in incidents:
        finding = incident.head
        is_groupable = finding.kind in EQUAL and finding.agent_id is not None and not incident.parts
        group_key = (finding.kind, finding.severity, finding.is_ongoing, finding.acknowledged_at is None)
        incidents_by_key.setdefault(group_key if is_groupable else (finding.finding_id,), []).append(incident)
    rows = []
    for incident_group in incidents_by_key.values():
        if len(incident_group) >= MIN_EQUAL:
            rows.append(Row(incident_group[0], tuple(incident.head for incident in incident_group)))
        else:
            rows.extend(map(Row, incident_group))
    return rows


def read_page_findings(
    caller: Caller, period: Period, agent_ids: Set[UUID] | None = None, *, comparison: Comparison | None = None
) -> PageFindings:
    """Return the stored findings about a period, ongoing findings first and then by severity. If the period includes
    today, ended findings are folded away unless they are recent and critical.

    :param agent_ids: the agents of which a finding must name at least one; ``None`` for all findings.
    """
    first_day = comparison.bounds["first"] if comparison else period.first
    day_count = (period.today - first_day).days + 1 if (period.today - period.last).days < MAX_DAYS else 1
    listing = read_listing(caller, min(day_count, MAX_DAYS))
    if listing is None:
        return PageFindings(None, [], [], (), period.first)
    findings = sorted(
        (finding for finding in listing.findings if agent_ids is None or not agent_ids.isdisjoint(finding.agent_ids)),
        key=lambda finding: (not finding.is_ongoing, -finding.severity),
    )
    period_findings = _select_findings(findings, period.first, period.last)
    ids_in_period = {finding.finding_id for finding in period_findings}
    return PageFindings(
        shown=[finding for finding in period_findings if not _is_folded(finding, period, caller.at)],
        folded=[finding for finding in period_findings if _is_folded(finding, period, caller.at)],
        outside=[finding for finding in findings if finding.is_ongoing and finding.finding_id not in ids_in_period],
        not_computed=listing.not_computed,
        known_from=max(listing.first_day, period.today - (MAX_DAYS - 1) * DAY),
        earlier_findings=_select_findings(findings, **comparison.bounds) if comparison else [],
    )


def _select_findings(findings: list[StoredFinding], first: date, last: date) -> list[StoredFinding]:
    """Return the findings that are about at least one of the UTC days from *first* to *last*."""
    first_instant, end_instant = (datetime.combine(day, time(), UTC) for day in (first, last + DAY))
    return [finding for finding in findings if finding.begins < end_instant and finding.ends > first_instant]


def _is_folded(finding: StoredFinding, period: Period, at: datetime) -> bool:
    is_pressing = finding.severity is Severity.critical and is_recent(finding, at)
    return period.is_running and not finding.is_ongoing and not is_pressing


def is_recent(finding: StoredFinding, at: datetime) -> bool:
    """Return whether a finding is ongoing, or has ended less than :data:`RECENT` ago."""
    return finding.ended_at is None or finding.ended_at > at - RECENT


def group_by_agent(findings: list[StoredFinding]) -> BadgesByAgent:
    """Return the findings by agent. A finding that names several agents is listed for each of them."""
    findings_by_agent: BadgesByAgent = {}
    for finding in sorted(findings, key=lambda finding: -finding.severity):
        for agent_id in finding.agent_ids:
            findings_by_agent.setdefault(agent_id, []).append(finding)
    return findings_by_agent


def read_unusual_agents(caller: Caller) -> BadgesByAgent | None:
    """Return the agents that ongoing or recent findings name, or ``None`` if computing the findings failed."""
    listing = read_listing(caller, RECENT.days + 1)
    if listing is None:
        return None
    return group_by_agent([finding for finding in listing.findings if is_recent(finding, caller.at)])


def read_listing(caller: Caller, days: int) -> Listing | None:
    """Return findings that are ongoing or ended in the last *days* days, or ``None`` if computing them failed."""
    try:
        return read_callers_listing(caller, days=days)
    except DatabaseUnavailable:
        return None
