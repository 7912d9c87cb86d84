"""Define findings, their JSON, and the query that they are computed for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, replace
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.http.schemas import timestamp

ORGANIZATION = "organization"
"""The subject of a finding that is not about a single agent."""

STATES = ("ongoing", "acknowledged", "ended")
"""The states of stored findings. An acknowledged finding is also either ongoing or ended."""


class Severity(IntEnum):
    """The urgency of a finding."""

    info = 1
    warning = 2
    critical = 3


@dataclass(frozen=True, kw_only=True)
class FindingsQuery:
    """The instant, the days and the settings for which findings are computed."""

    at: datetime  # with time zone UTC
    days: int  # number of UTC days, today included, that a finding must overlap
    token_ttl: int  # lifetime of a token in seconds
    holidays: tuple[tuple[datetime, datetime], ...] = ()  # half-open periods that people have marked as holidays
    includes_registry: bool = False  # whether to compute kinds that read the registry, which a replay lacks

    def is_holiday(self, begins: datetime, ends: datetime) -> bool:
        """Return whether a period lies within a holiday that somebody has marked."""
        return any(holiday_begin <= begins and ends <= holiday_end for holiday_begin, holiday_end in self.holidays)

    @property
    def today(self) -> date:
        """The UTC day of ``at``."""
        return self.at.date()

    @property
    def since(self) -> date:
        """The first of the requested UTC days."""
        return self.today - timedelta(days=self.days - 1)

    @property
    def until(self) -> date:
        """The UTC day after today."""
        return self.today + timedelta(days=1)


@dataclass(frozen=True)
class Kind:
    """A kind of finding: the functions that compute it, and the properties that other modules read."""

    build_call: Callable[[FindingsQuery], Call]  # returns the statement that reads the rows
    compute_findings: Callable[[Rows, FindingsQuery], list[Finding]]
    _: KW_ONLY
    absorbs: tuple[str, ...] = ()  # kinds that this kind explains if both findings have the same agent and time
    ends_after: timedelta = timedelta(hours=3)  # time until a finding ends after its window if it is not computed again
    max_gap: timedelta = timedelta(hours=1)  # maximum time between two windows of the same finding
    reads_registry: bool = False  # whether the rule reads the registry, and not only counters
    has_marked_cause: bool = False  # whether a marked change of an agent can cause such a finding
    is_about_tokens: bool = False  # whether such a finding reports many tokens, and can be part of an incident
    names_contributors: bool = False  # whether a finding about the organization names agents
    cause_rank: int = 0  # rank among the kinds that explain an agent's tokens; 1: explains best; 0: explains none
    counted: str = "tokens"  # the counter that a chart of the finding shows


@dataclass(frozen=True, kw_only=True)
class Contributor:
    """An agent in a finding about several agents, with its part of the observed amount."""

    agent_id: UUID
    agent_name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fact about an organization's usage that an operator should know."""

    kind: str
    severity: Severity
    begins: datetime  # the window is half-open
    ends: datetime
    unit: str  # the unit of *observed* and *expected*
    observed: float
    expected: float
    baseline: str  # how the expected amount was calculated
    summary: str  # the event, in sentences for people
    causes: str  # the likely causes of the event
    next_step: str
    agent_id: UUID | None = None  # the agent, if the finding is about a single agent
    agent_name: str | None = None
    credential_id: UUID | None = None  # the credential, if the finding is about a single credential
    agents: tuple[Contributor, ...] = ()  # some of the agents that the finding is about, or that caused it
    agent_count: int | None = None  # the number of all agents of the finding; None: *agents* has all of them
    also_seen_as: tuple[str, ...] = ()  # other kinds that would report the same cause
    excess: float = 0.0  # tokens that the finding explains; for dominance: the agent's tokens above the maximum share
    step: int = 0  # the number of reminders that were due so far
    since: datetime | None = None  # the day on which a monthly limit was passed; None: the day of *begins*

    @property
    def subject(self) -> str:
        """The id of the agent that the finding is about, or :data:`ORGANIZATION`."""
        return str(self.agent_id) if self.agent_id else ORGANIZATION

    @property
    def agent_ids(self) -> list[UUID]:
        """The ids of the agents that the finding names."""
        return [self.agent_id] if self.agent_id else [agent.agent_id for agent in self.agents]

    def overlaps(self, other: Finding) -> bool:
        """Return whether the windows of two findings have a time in common."""
        return self.begins < other.ends and other.begins < self.ends

    def represent(self) -> dict[str, Any]:
        """Return the finding as JSON of the API."""
        return {
            "kind": self.kind,
            "severity": self.severity.name,
            "agentId": str(self.agent_id) if self.agent_id else None,
            "agentName": self.agent_name,
            "window": {"from": timestamp(self.begins), "to": timestamp(self.ends)},
            "since": timestamp(self.since or self.begins),
            "observed": {"value": _number(self.observed), "unit": self.unit},
            "expected": {"value": _number(self.expected), "unit": self.unit, "baseline": self.baseline},
            "agents": [
                {"agentId": str(agent.agent_id), "agentName": agent.agent_name, "count": agent.count}
                for agent in self.agents
            ],
            "agentCount": len(self.agent_ids) if self.agent_count is None else self.agent_count,
            "alsoSeenAs": list(self.also_seen_as),
            "summary": self.summary,
            "causes": self.causes,
            "next": self.next_step,
            "credentialId": str(self.credential_id) if self.credential_id else None,
        }


def sum_findings(findings: Iterable[Finding], max_named_agents: int) -> Finding:
    """Return one finding with the sums of the findings' amounts. It names at most *max_named_agents* of the agents."""
    findings = sorted(findings, key=lambda finding: (-finding.observed, str(finding.agent_id)))
    return replace(
        findings[0],
        agent_id=None,
        agent_name=None,
        severity=max(finding.severity for finding in findings),
        begins=min(finding.begins for finding in findings),
        ends=max(finding.ends for finding in findings),
        observed=sum(finding.observed for finding in findings),
        expected=sum(finding.expected for finding in findings),
        excess=sum(finding.excess for finding in findings),
        agents=tuple(
            Contributor(agent_id=finding.agent_id, agent_name=finding.agent_name or "", count=round(finding.observed))
            for finding in findings[:max_named_agents]
            if finding.agent_id
        ),
        agent_count=len(findings),
    )


def _number(value: float) -> float:
    """Return a whole number as an integer, and any other number with one decimal place."""
    return int(value) if value == int(value) else round(value, 1)


@dataclass(frozen=True, kw_only=True)
class StoredFinding(Finding):
    """A finding with its id and state in the database."""

    finding_id: UUID
    highest: Severity  # the highest severity so far
    first_seen_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None = None
    misses: int = 0  # the number of evaluations in a row that did not compute the finding
    announced: Severity | None = None  # the highest severity of its alerts since it began
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    muted_until: datetime | None = None

    @property
    def is_ongoing(self) -> bool:
        """Whether the finding has not ended."""
        return self.ended_at is None

    @property
    def states(self) -> tuple[str, ...]:
        """The current states of the finding, some of :data:`STATES`."""
        state = "ongoing" if self.is_ongoing else "ended"
        return (state, "acknowledged") if self.acknowledged_at else (state,)

    @property
    def report(self) -> dict[str, Any]:
        """The finding as JSON for the database: the API's JSON, and the number of its reminders so far."""
        return super().represent() | ({"step": self.step} if self.step else {})

    def represent(self) -> dict[str, Any]:
        """Return the stored finding as JSON of the API: the finding, and then its state."""
        return super().represent() | {
            "findingId": str(self.finding_id),
            "state": self.states[0],
            "firstSeenAt": timestamp(self.first_seen_at),
            "lastSeenAt": timestamp(self.last_seen_at),
            "endedAt": timestamp(self.ended_at),
            "acknowledgedAt": timestamp(self.acknowledged_at),
            "acknowledgedBy": self.acknowledged_by,
            "note": self.note,
            "mutedUntil": timestamp(self.muted_until),
        }


def finding_from_row(row: Any) -> StoredFinding:
    """Return the stored finding in a row of ``finding_state/stored_findings`` or ``finding_state/get_finding``."""
    report = row.report
    return StoredFinding(
        kind=report["kind"],
        severity=Severity[report["severity"]],
        agent_id=UUID(report["agentId"]) if report["agentId"] else None,
        agent_name=report["agentName"],
        credential_id=UUID(report["credentialId"]) if report["credentialId"] else None,
        begins=datetime.fromisoformat(report["window"]["from"]),
        ends=datetime.fromisoformat(report["window"]["to"]),
        since=datetime.fromisoformat(report["since"]),
        unit=report["expected"]["unit"],
        observed=report["observed"]["value"],
        expected=report["expected"]["value"],
        baseline=report["expected"]["baseline"],
        agents=tuple(
            Contributor(agent_id=UUID(agent["agentId"]), agent_name=agent["agentName"], count=agent["count"])
            for agent in report["agents"]
        ),
        agent_count=report["agentCount"],
        also_seen_as=tuple(report["alsoSeenAs"]),
        summary=report["summary"],
        causes=report["causes"],
        next_step=report["next"],
        step=report.get("step", 0),
        finding_id=row.finding_id,
        highest=Severity[row.highest_severity],
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        ended_at=row.ended_at,
        misses=row.misses,
        announced=Severity[row.announced_severity] if row.announced_severity else None,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        note=row.note,
        muted_until=row.muted_until,
    )


def finding_to_row(finding: StoredFinding) -> dict[str, Any]:
    """Return a finding as an object for the statement ``finding_state/store_findings``, with one member per column."""
    return {
        "finding_id": str(finding.finding_id),
        "kind": finding.kind,
        "subject": finding.subject,
        "severity": finding.severity.name,
        "highest_severity": finding.highest.name,
        "begins_at": timestamp(finding.begins),
        "ends_at": timestamp(finding.ends),
        "first_seen_at": timestamp(finding.first_seen_at),
        "last_seen_at": timestamp(finding.last_seen_at),
        "ended_at": timestamp(finding.ended_at),
        "misses": finding.misses,
        "announced_severity": finding.announced.name if finding.announced is not None else None,
        "report": finding.report,
    }
