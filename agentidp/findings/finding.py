"""What a finding is, and where one looks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

import marshmallow as ma

from agentidp.db.sql import Call, Rows
from agentidp.http.schemas import timestamp


class Severity(IntEnum):
    """How urgent a finding is; the most urgent first in every list."""

    info = 1
    warning = 2
    critical = 3


@dataclass(frozen=True, kw_only=True)
class FindingsQuery:
    """What findings are asked for.

    ``at`` is now, aware, in UTC; ``days`` is how many UTC days back a finding may lie, today included; ``token_ttl``
    is the lifetime of a token in seconds; ``dominance_percent`` the share of the month above which an agent dominates;
    ``holidays`` are half-open times that people marked as such. ``of_registered`` is whether what is registered is
    judged too: credentials and quotas, and agents that ask for nothing. Without it, everything comes from usage, as
    where a history is replayed that has no registry.
    """

    at: datetime
    days: int
    token_ttl: int
    dominance_percent: int
    holidays: tuple[tuple[datetime, datetime], ...] = ()
    of_registered: bool = False

    def is_holiday(self, begins: datetime, ends: datetime) -> bool:
        """Whether a time lies within a holiday."""
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
class Contributor:
    """An agent that takes part in a finding, and with how much of what was observed."""

    agent_id: UUID
    agent_name: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that an operator should know.

    ``begins`` and ``ends`` are the window, half-open. ``observed`` and ``expected`` are amounts of ``unit``, and
    ``baseline`` says how the expected one was made. ``agent_id`` and ``agent_name`` are those of the one agent that it
    concerns, if it does; ``agents`` are the first few behind one that concerns several, and ``agent_count`` says how
    many there are, if that is known. ``credential_id`` is that of the one credential that it concerns, if it does.
    ``also_seen_as`` are other kinds that would report the same cause. ``excess`` is
    how many tokens it explains; of ``dominance``, how many fewer would end it. ``is_of_part`` says that a part of the
    organization is quiet and the rest is not. ``step`` counts the reminders that are due so far. For people, a
    sentence or two each: ``summary`` says what was seen, ``causes`` what likely lies behind it, ``next_step`` what to
    check.
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
    is_of_part: bool = False
    step: int = 0

    def represent(self) -> dict[str, Any]:
        """As our JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity.name,
            "agentId": str(self.agent_id) if self.agent_id else None,
            "agentName": self.agent_name,
            "window": {"from": timestamp(self.begins), "to": timestamp(self.ends)},
            "observed": {"value": _number(self.observed), "unit": self.unit},
            "expected": {"value": _number(self.expected), "unit": self.unit, "baseline": self.baseline},
            "agents": [
                {"agentId": str(one.agent_id), "agentName": one.agent_name, "count": one.count} for one in self.agents
            ],
            "agentCount": self.agent_count
            if self.agent_count is not None
            else len(self.agents) or int(bool(self.agent_id)),
            "alsoSeenAs": list(self.also_seen_as),
            "summary": self.summary,
            "causes": self.causes,
            "next": self.next_step,
            "credentialId": str(self.credential_id) if self.credential_id else None,
        }


def finding_of(report: dict[str, Any]) -> Finding:
    """The finding that represents itself as *report*."""
    return Finding(
        kind=report["kind"],
        severity=Severity[report["severity"]],
        agent_id=UUID(report["agentId"]) if report["agentId"] else None,
        agent_name=report["agentName"],
        credential_id=UUID(report["credentialId"]) if report.get("credentialId") else None,
        begins=datetime.fromisoformat(report["window"]["from"]),
        ends=datetime.fromisoformat(report["window"]["to"]),
        unit=report["expected"]["unit"],
        observed=report["observed"]["value"],
        expected=report["expected"]["value"],
        baseline=report["expected"]["baseline"],
        agents=tuple(
            Contributor(agent_id=UUID(one["agentId"]), agent_name=one["agentName"], count=one["count"])
            for one in report["agents"]
        ),
        agent_count=report["agentCount"],
        also_seen_as=tuple(report["alsoSeenAs"]),
        summary=report["summary"],
        causes=report["causes"],
        next_step=report["next"],
    )


def _number(value: float) -> float:
    """A whole number without a fraction, any other with one digit of it."""
    return int(value) if value == int(value) else round(value, 1)


class Kind(Protocol):
    """A module of this package: a kind of finding. Its name is the kind's, and its statement's file's."""

    __name__: str

    def call(self, query: FindingsQuery) -> Call:
        """The statement that finds it; it gets ``organization_id`` and ``at`` beside these parameters."""

    def findings(self, rows: Rows, query: FindingsQuery) -> list[Finding]:
        """What the statement's rows come to."""


class AmountSchema(ma.Schema):
    """What was observed."""

    value = ma.fields.Float(required=True)
    unit = ma.fields.String(required=True)


class BaselineSchema(AmountSchema):
    """What was to be expected, and how that was made."""

    baseline = ma.fields.String(required=True)


class WindowSchema(ma.Schema):
    """Half-open: ``to`` is the first instant after it."""

    from_ = ma.fields.AwareDateTime(required=True, data_key="from")
    to = ma.fields.AwareDateTime(required=True)


class ContributorSchema(ma.Schema):
    """An agent that takes part in it."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    count = ma.fields.Integer(required=True)
