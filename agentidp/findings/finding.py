"""Define findings, their JSON, and the query that they are computed for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

from agentidp.db.sql import Call, Rows
from agentidp.http.schemas import timestamp

ORGANIZATION = "organization"
"""The subject of a finding without a single agent. Any other subject is the id of an agent."""

STATES = ("ongoing", "acknowledged", "ended")
"""The states of stored findings. An acknowledged finding is also ongoing or ended."""


class Severity(IntEnum):
    """How urgent a finding is."""

    info = 1
    warning = 2
    critical = 3


@dataclass(frozen=True, kw_only=True)
class FindingsQuery:
    """The instant and the days for which findings are computed.

    :param at: the instant, aware, in UTC.
    :param days: the number of UTC days, today included, in which a finding may lie.
    :param token_ttl: the lifetime of a token in seconds.
    :param holidays: half-open times that people have marked as holidays.
    :param of_registered: whether kinds that judge what is registered are computed too, such as credentials and quotas.
        A replayed history has no registry.
    """

    at: datetime
    days: int
    token_ttl: int
    holidays: tuple[tuple[datetime, datetime], ...] = ()
    of_registered: bool = False

    def is_holiday(self, begins: datetime, ends: datetime) -> bool:
        """Return whether a time lies within a holiday."""
        return any(first <= begins and ends <= last for first, last in self.holidays)

    @property
    def today(self) -> date:
        """The UTC day of ``at``."""
        return self.at.date()

    @property
    def since(self) -> date:
        """The first of the days."""
        return self.today - timedelta(days=self.days - 1)

    @property
    def until(self) -> date:
        """The day after the last."""
        return self.today + timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of finding: its rule, and what the rest of the service must know of it.

    ``call`` returns the statement that reads what ``findings`` judges; the statement also gets ``organization_id`` and
    ``at``. The module of a kind has its ``KIND``. :mod:`agentidp.findings.kinds` collects them.

    - ``absorbs``: the kinds that it explains, if they are about the same agent and time.
    - ``ends_after``: how long after the end of its window a finding ends, unless it is seen again.
    - ``max_gap``: the longest time between two windows of the same finding.
    - ``reads_registry``: whether the rule judges what is registered, and not only what was counted.
    - ``has_marked_cause``: whether a marked change of the agent can be its cause.
    - ``is_about_tokens``: whether it says that many tokens were issued, and so may be part of an incident.
    - ``names_contributors``: whether a finding about the whole organization names the agents with the most tokens.
    - ``cause_rank``: of the kinds that say why an agent was issued many tokens, 1 is the best reason. 0: not a reason.
    - ``counted``: the counter that a chart of the finding shows.
    """

    call: Callable[[FindingsQuery], Call]
    findings: Callable[[Rows, FindingsQuery], list[Finding]]
    absorbs: tuple[str, ...] = ()
    ends_after: timedelta = timedelta(hours=3)
    max_gap: timedelta = timedelta(hours=1)
    reads_registry: bool = False
    has_marked_cause: bool = False
    is_about_tokens: bool = False
    names_contributors: bool = False
    cause_rank: int = 0
    counted: str = "tokens"


@dataclass(frozen=True, kw_only=True)
class Contributor:
    """An agent that takes part in a finding, and its part of the observed amount."""

    agent_id: UUID
    agent_name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fact about an organization's usage that an operator should know.

    - ``begins``, ``ends``: the window, half-open. ``since`` is when the finding became true, if that is not ``begins``:
      for a monthly budget or quota, the day on which it was passed.
    - ``observed``, ``expected``: amounts of ``unit``. ``baseline`` says how the expected amount was calculated.
    - ``agent_id``, ``agent_name``: the only agent that the finding is about. Without them, ``agents`` are the first few
      agents that take part, or that caused a finding about the organization. ``agent_count`` is the number of all that
      take part, if it is known.
    - ``credential_id``: the only credential that the finding is about.
    - ``also_seen_as``: other kinds that would report the same cause.
    - ``excess``: the number of tokens that the finding explains. For ``dominance``, how many fewer tokens would end it.
    - ``step``: the number of reminders that are due so far.
    - ``summary``, ``causes``, ``next_step``: one or two sentences for people each: what happened, what the likely
      causes are, and what to check.
    """

    kind: str
    severity: Severity
    begins: datetime
    ends: datetime
    unit: str
    observed: float
    expected: float
    baseline: str
    summary: str
    causes: str
    next_step: str
    agent_id: UUID | None = None
    agent_name: str | None = None
    credential_id: UUID | None = None
    agents: tuple[Contributor, ...] = ()
    agent_count: int | None = None
    also_seen_as: tuple[str, ...] = ()
    excess: float = 0.0
    step: int = 0
    since: datetime | None = None

    @property
    def subject(self) -> str:
        """The id of the agent that it is about, or :data:`ORGANIZATION`."""
        return str(self.agent_id) if self.agent_id else ORGANIZATION

    @property
    def agent_ids(self) -> list[UUID]:
        """The ids of the agents that it names: its only agent, or the first few of several."""
        return [self.agent_id] if self.agent_id else [agent.agent_id for agent in self.agents]

    @property
    def states(self) -> tuple[str, ...]:
        """The states of :data:`STATES` that it has; none if it is not stored."""
        return ()

    def represent(self) -> dict[str, Any]:
        """Return the JSON of the API."""
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


def about_several(findings: Iterable[Finding], max_named: int) -> Finding:
    """Return one finding about several agents: the sum of one finding about each. Its texts are those of the first one.

    :param max_named: the maximum number of agents that it names; those with the largest amounts.
    """
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
            for finding in findings[:max_named]
            if finding.agent_id
        ),
        agent_count=len(findings),
    )


def _number(value: float) -> float:
    """Return a whole number as an integer, and any other with one decimal place."""
    return int(value) if value == int(value) else round(value, 1)


@dataclass(frozen=True, kw_only=True)
class KnownFinding(Finding):
    """A finding as it was last reported, with its id and state.

    - ``highest``: the highest severity that was reported.
    - ``misses``: the evaluations in a row that did not find it.
    - ``announced``: the highest severity that was sent as an alert since it began (:mod:`agentidp.findings.alerting`).
    - ``acknowledged_at`` and the following members: what people did with it.
    """

    finding_id: UUID
    highest: Severity
    first_seen_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None = None
    misses: int = 0
    announced: Severity | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    muted_until: datetime | None = None

    @property
    def is_ongoing(self) -> bool:
        """Whether it is ongoing."""
        return self.ended_at is None

    @property
    def states(self) -> tuple[str, ...]:
        """The states of :data:`STATES` that it has."""
        state = "ongoing" if self.is_ongoing else "ended"
        return (state, "acknowledged") if self.acknowledged_at else (state,)

    @property
    def report(self) -> dict[str, Any]:
        """The JSON that is stored: also with the step, which clients do not need."""
        return super().represent() | ({"step": self.step} if self.step else {})

    def represent(self) -> dict[str, Any]:
        """Return the JSON of the API: the finding, and then its state."""
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


def from_row(row: Any) -> KnownFinding:
    """Return the finding of a row of ``finding_state/stored_findings`` or ``finding_state/get_finding``."""
    report = row.report
    return KnownFinding(
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


def as_row(finding: KnownFinding) -> dict[str, Any]:
    """Return what an evaluation stores of a finding: an item of the parameter of ``finding_state/store_findings``."""
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
