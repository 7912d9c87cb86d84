"""Fleets whose hourly usage a test counts, and the findings about them.

The rules in Python are tested on :class:`Lists`, and the statements on a :class:`Fleet`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp import demo
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, build_findings_query, compute_findings
from agentidp.findings.alerting import Alert, decide_alerts
from agentidp.findings.finding import ORGANIZATION, Finding, FindingsQuery, Severity, StoredFinding
from agentidp.findings.identity import MAX_MISSES, FindingChange, reconcile
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential
from agentidp.registry.organizations import update_organization
from agentidp.registry.quotas import set_quota
from agentidp.services import Services
from agentidp.usage_history.adding import Hours, add_usage, compute_hour_number
from tests.conftest import Cast
from tests.factories import NOON, Agent, Api, a_finding, database_of, make_agent
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

FINDINGS = "/api/v1/analytics/findings"

GONE = "-" * MAX_MISSES
"""Letters for :meth:`History.find`: as many evaluations without a finding as end the finding."""

STORY_AT = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
"""The instant at which the usage of :func:`make_a_story` ends: the first of a month."""


class Counted(NamedTuple):
    """The counts of an agent in an hour. A token is a request too."""

    tokens: int = 0
    requests: int = 0
    rejected: int = 0


class Usage:
    """The counts of agents by hour."""

    def __init__(self) -> None:
        self.usage: dict[UUID, dict[datetime, Counted]] = {}

    def agent(self, name: str) -> UUID:
        """Register an agent."""
        raise NotImplementedError

    def count(self, agent_id: UUID, at: datetime, tokens: int = 0, *, requests: int = 0, rejected: int = 0) -> None:
        """Count usage in the hour of *at*. *requests* are counted in addition to the requests for tokens."""
        hours, hour = self.usage.setdefault(agent_id, {}), at.replace(minute=0, second=0, microsecond=0)
        now = hours.get(hour, Counted())
        hours[hour] = Counted(now.tokens + tokens, now.requests + tokens + requests, now.rejected + rejected)

    def work(
        self, agent_id: UUID, begins: datetime, ends: datetime, tokens: Callable[[datetime], int], **more: int
    ) -> None:
        """Count ``tokens(hour)`` in each hour from *begins* to before *ends*, if the number is not zero."""
        at = begins
        while at < ends:
            if tokens(at):
                self.count(agent_id, at, tokens(at), **more)
            at += timedelta(hours=1)


class Lists(Usage):
    """A fleet on plain lists, with the rows that the statements would return if all agents were candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[UUID, str] = {}
        self.inactive: set[UUID] = set()
        self.replicas: dict[UUID, int] = {}
        self.markers: list[Any] = []
        # Saturday and Sunday, as PostgreSQL numbers them.
        self.rest_days = [0, 6]

    def agent(self, name: str) -> UUID:
        """Add an agent. An agent that is added later has a higher id."""
        agent_id = UUID(int=len(self.names) + 1)
        self.names[agent_id] = name
        self.usage[agent_id] = {}
        return agent_id

    def findings(
        self, *kinds: str, now: datetime = NOON, days: int = DEFAULT_DAYS, token_ttl: int = 3600
    ) -> list[Finding]:
        """Return the findings of these kinds, the most urgent first."""

        def run(*calls: Call) -> list[Rows]:
            names = [call.name.removeprefix("findings/") for call in calls]
            computed_names = {*kinds, "markers"}
            return [
                [SimpleNamespace(**row) for row in getattr(self, f"_{name}")(now=now, **call.parameters)]
                if name in computed_names
                else []
                for name, call in zip(names, calls, strict=True)
            ]

        computed = compute_findings(run, build_query(now, days=days, token_ttl=token_ttl))
        assert not computed.not_computed
        return computed.findings

    def _history(self, agent_id: UUID, first_day: date, until: date, *units: str) -> list[list[Any]]:
        """Return, per day with usage, the number of the day, and the counts of its hours per unit."""
        days: dict[int, list[list[int]]] = {}
        for at, counted in self.usage[agent_id].items():
            if first_day <= at.date() < until:
                counts_by_unit = days.setdefault((at.date() - first_day).days, [[0] * 24 for _ in units])
                for counts, unit in zip(counts_by_unit, units, strict=True):
                    counts[at.hour] += getattr(counted, unit)
        return [[day, *counts] for day, counts in sorted(days.items())]

    def _rows(self, *units: str, first_day: date, until: date, **more: Any) -> list[dict[str, Any]]:
        return [
            {"agent_id": agent_id, "agent_name": name, "history": self._history(agent_id, first_day, until, *units)}
            | more
            for agent_id, name in self.names.items()
        ]

    def _markers(self, **_: Any) -> list[dict[str, Any]]:
        return [vars(marker) for marker in self.markers]

    def _spike(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        return self._rows("tokens", first_day=first_day, until=until)

    def _silence(self, first_day: date, until: date, max_sampled: int, **_: Any) -> list[dict[str, Any]]:
        rows = self._rows("requests", first_day=first_day, until=until)
        active = [row for row in rows if row["history"] and row["agent_id"] not in self.inactive]
        return [row | {"is_sampled": place < max_sampled} for place, row in enumerate(active)]

    def _weekend(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rest_days = {"agent_id": None, "agent_name": None, "history": self.rest_days}
        return [*self._rows("tokens", first_day=first_day, until=until), rest_days]

    def _rejections(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rows = self._rows("rejected", "tokens", first_day=first_day, until=until, sources=None)
        return [row | {"is_active": row["agent_id"] not in self.inactive} for row in rows]

    def _uncached_tokens(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rows = self._rows("tokens", "requests", first_day=first_day, until=until)
        return [row | {"expected_replicas": self.replicas.get(row["agent_id"])} for row in rows]


class Fleet(Usage):
    """The agents of an organization in the database. Nothing is stored before :meth:`store`, which is called once."""

    def __init__(self, services: Services, reader: Agent, client: FlaskClient) -> None:
        super().__init__()
        self.services, self.reader, self.client = services, reader, client
        self.api = Api(client, reader)

    @property
    def organization_id(self) -> str:
        """The id of the organization that has the fleet."""
        return self.reader.organization_id

    @property
    def database(self) -> OrganizationDatabase:
        """The database of the organization at the current time."""
        return database_of(self.services, self.organization_id)

    def agent(self, name: str) -> UUID:
        """Register an agent."""
        return make_agent(self.services, self.organization_id, name).agent_id

    def registered(self, name: str, at: datetime) -> UUID:
        """Register an agent without a credential at an instant."""
        with self.services.database.of(self.organization_id, at).transaction() as opened:
            agent = add_agent(opened, name=name, description="", scopes=[], max_agents=1000)
        agent_id: UUID = agent.agent_id
        return agent_id

    def credential(
        self,
        agent_id: UUID,
        at: datetime,
        *,
        label: str | None = None,
        expires_at: datetime | None = None,
        used_at: datetime | None = None,
    ) -> UUID:
        """Create a credential at an instant. It was last used at *used_at*, or never."""
        with self.services.database.of(self.organization_id, at).transaction() as opened:
            row, _ = add_credential(opened, agent_id, label=label, expires_at=expires_at)
        if used_at is not None:
            self.use(row.credential_id, used_at)
        credential_id: UUID = row.credential_id
        return credential_id

    def use(self, credential_id: UUID, at: datetime) -> None:
        """Set when a credential was last used, as issuing a token does."""
        with self.database.transaction() as opened:
            opened._connection.execute(
                "update credentials set last_used_at = %s where credential_id = %s", [at, credential_id]
            )

    def store(self, *, slots: int = 1) -> None:
        """Store the counts, each divided among this number of slots."""
        for slot in range(slots):
            sums: dict[UUID, Hours] = {
                agent_id: {
                    compute_hour_number(at.date(), at.hour): [(count + slot) // slots for count in counted]
                    for at, counted in hours.items()
                }
                for agent_id, hours in self.usage.items()
            }
            with self.database.transaction() as transaction:
                if slot:
                    # add_usage always writes to the same slot, so the rows of this slot are moved first.
                    for table in ("usage_daily", "agent_usage_daily"):
                        transaction._connection.execute(f"update {table} set slot = {slot}")
                add_usage(transaction, sums)

    def findings(self, kind: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """Return the findings of a kind, or of all kinds, without storing them.

        :param query: arguments of :func:`agentidp.findings.build_findings_query`.
        """
        computed = compute_findings(
            self.database.run, build_findings_query(self.database.at, self.services.settings, **query)
        )
        assert not computed.not_computed
        return [reported.represent() for reported in computed.findings if kind in (None, reported.kind)]

    def listed(self, **query: Any) -> Any:
        """Return the body of ``GET /api/v1/analytics/findings``."""
        response = self.api.get(FINDINGS, **query)
        assert response.status_code == 200, response.json
        return response.json


def build_query(at: datetime = NOON, *, days: int = DEFAULT_DAYS, token_ttl: int = 3600) -> FindingsQuery:
    """Return a query for all kinds, also for the kinds that read the registry."""
    return FindingsQuery(at=at, days=days, token_ttl=token_ttl, includes_registry=True)


@dataclass
class History:
    """The stored findings after each evaluation, with the changes of their states and the alerts, on plain lists."""

    at: datetime = NOON
    stored: dict[UUID, StoredFinding] = field(default_factory=dict)
    happened: list[tuple[UUID, FindingChange]] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    def look(
        self,
        *computed: Finding,
        after: timedelta = timedelta(minutes=5),
        not_computed: Sequence[str] = (),
        muted: Collection[tuple[str, str]] = (),
    ) -> None:
        """Evaluate the findings again, and store the result."""
        self.at += after
        result = reconcile([*self.stored.values()], computed, self.at, not_computed=not_computed)
        escalated = {reported.finding_id for reported, what in result.changes if what is FindingChange.escalated}
        findings, alerts = decide_alerts(result.findings, muted, result.changed_kind_ids, escalated)
        self.stored |= {reported.finding_id: reported for reported in findings}
        self.happened += [(reported.finding_id, what) for reported, what in result.changes]
        self.alerts += alerts

    def find(self, letters: str) -> None:
        """Evaluate once per letter: a spike since noon with the severity that begins with the letter, or no finding.

        ``-`` and ``_`` stand for no finding. In evaluations of capitals and ``_``, spikes are muted.
        """
        for letter in letters:
            severity = {severity.name[0]: severity for severity in Severity}.get(letter.lower())
            computed = [a_finding(self.at, begins=NOON, severity=severity)] if severity else []
            is_muted = letter == "_" or letter.isupper()
            self.look(*computed, muted=[("spike", ORGANIZATION)] if is_muted else ())

    @property
    def only(self) -> StoredFinding:
        """The only finding."""
        [reported] = self.stored.values()
        return reported

    @property
    def happenings(self) -> list[str]:
        """The changes of the findings' states, oldest first."""
        return [what.value for _, what in self.happened]


def body(kind: str, severity: str, about: tuple[UUID, str] | None = None, **members: Any) -> dict[str, Any]:
    """Return the JSON of a finding. *members* replace the default values."""
    agent_id, name = about or (None, None)
    return {
        "kind": kind,
        "severity": severity,
        "agentId": agent_id and str(agent_id),
        "agentName": name,
        "agents": [],
        "agentCount": 1 if about else 0,
        "credentialId": None,
        "alsoSeenAs": [],
        # Most kinds have this value.
        "since": members["window"]["from"],
    } | members


def amounts(observed: float, expected: float, unit: str, baseline: str) -> dict[str, Any]:
    """Return the members of a finding with its amounts."""
    return {
        "observed": {"value": observed, "unit": unit},
        "expected": {"value": expected, "unit": unit, "baseline": baseline},
    }


def window(begins: str, ends: str) -> dict[str, str]:
    """Return the window of a finding between two instants, which are written to the minute."""
    return {"from": f"{begins}:00.000000Z", "to": f"{ends}:00.000000Z"}


def make_a_story(fleet: Fleet, *, slots: int = 1) -> UUID:
    """Store a fleet with a finding of every kind: the demo, and an agent that works on weekdays and one Saturday night.

    :returns: the id of the agent that falls silent.
    """
    agents = {agent: fleet.agent(agent.name) for agent in demo.AGENTS}
    for agent, starts_at, (tokens, requests, rejected) in demo.generate_traffic(STORY_AT):
        fleet.count(agents[agent], starts_at, tokens, requests=requests - tokens, rejected=rejected)
    run, today = datetime(2026, 3, 28, 23, tzinfo=UTC), STORY_AT.date()
    outage_day = today - timedelta(days=demo.OUTAGE.count_days_since(today))

    def tokens_of_worker(hour: datetime) -> int:
        if hour.weekday() < 5:
            return 20 if 8 <= hour.hour < 18 and hour.date() != outage_day else 0
        return 300 if run <= hour < run + timedelta(hours=2) else 0

    fleet.work(fleet.agent("worker"), datetime(2026, 1, 26, tzinfo=UTC), STORY_AT, tokens_of_worker)
    fleet.store(slots=slots)
    with fleet.database.transaction() as transaction:
        update_organization(transaction, {"monthly_token_budget": demo.RETRY_LOOP.tokens})
        set_quota(transaction, None, "month", tokens=1, is_enforced=False)
    since = STORY_AT - timedelta(days=100)
    dormant_id = fleet.registered("dormant", since)
    fleet.credential(dormant_id, since)
    fleet.credential(agents[demo.OPERATOR], since, expires_at=STORY_AT + timedelta(days=5))
    return agents[demo.SILENT]


@pytest.fixture
def history() -> History:
    """A history before its first evaluation."""
    return History()


@pytest.fixture
def lists() -> Lists:
    """A fleet without an agent."""
    return Lists()


@pytest.fixture
def fleet(services: Services, cast: Cast, client: FlaskClient) -> Fleet:
    """The fleet of Acme. Its agent that reads has no usage."""
    return Fleet(services, cast.acme, client)


@pytest.fixture
def outsiders(services: Services, cast: Cast, client: FlaskClient) -> Fleet:
    """The fleet of the other organization, which must not change Acme's findings."""
    return Fleet(services, cast.outsider, client)
