"""A fleet whose usage a test makes up, hour by hour, and what is found in it.

What a rule in Python decides is tested on :class:`Lists`, what a statement selects on a :class:`Fleet`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
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
"""Of :meth:`History.find`: after so many evaluations without it a finding has ended."""

STORY_AT = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
"""Up to when there is usage in :func:`make_a_story`: the first of a month."""


class Counted(NamedTuple):
    """What is counted of an agent in an hour. A token is a request too."""

    tokens: int = 0
    requests: int = 0
    rejected: int = 0


class Usage:
    """What is counted of agents, hour by hour."""

    def __init__(self) -> None:
        self.usage: dict[UUID, dict[datetime, Counted]] = {}

    def agent(self, name: str) -> UUID:
        """Register an agent."""
        raise NotImplementedError

    def count(self, agent_id: UUID, at: datetime, tokens: int = 0, *, requests: int = 0, rejected: int = 0) -> None:
        """Count usage in the hour of *at*; *requests* are those beyond the tokens' own."""
        hours, hour = self.usage.setdefault(agent_id, {}), at.replace(minute=0, second=0, microsecond=0)
        now = hours.get(hour, Counted())
        hours[hour] = Counted(now.tokens + tokens, now.requests + tokens + requests, now.rejected + rejected)

    def work(
        self, agent_id: UUID, begins: datetime, ends: datetime, tokens: Callable[[datetime], int], **more: int
    ) -> None:
        """Count ``tokens(hour)`` in each hour from *begins* to before *ends* for which it is not zero."""
        at = begins
        while at < ends:
            if tokens(at):
                self.count(agent_id, at, tokens(at), **more)
            at += timedelta(hours=1)


class Lists(Usage):
    """A fleet on plain lists: the rows that the statements return of it, if each agent of it is a candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[UUID, str] = {}
        self.inactive: set[UUID] = set()
        self.replicas: dict[UUID, int] = {}
        self.markers: list[Any] = []
        # Saturday and Sunday, as PostgreSQL numbers them.
        self.rest_days = [0, 6]

    def agent(self, name: str) -> UUID:
        """An agent; a later one has a higher id."""
        agent_id = UUID(int=len(self.names) + 1)
        self.names[agent_id] = name
        self.usage[agent_id] = {}
        return agent_id

    def findings(
        self, *kinds: str, now: datetime = NOON, days: int = DEFAULT_DAYS, token_ttl: int = 3600
    ) -> list[Finding]:
        """What is found of these kinds, the most urgent first, each cause once."""

        def run(*calls: Call) -> list[Rows]:
            names = [call.name.removeprefix("findings/") for call in calls]
            wanted = {*kinds, "markers"}
            return [
                [SimpleNamespace(**row) for row in getattr(self, f"_{name}")(now=now, **call.parameters)]
                if name in wanted
                else []
                for name, call in zip(names, calls, strict=True)
            ]

        computed = compute_findings(run, asked(now, days=days, token_ttl=token_ttl))
        assert not computed.not_computed
        return computed.findings

    def _history(self, of: Iterable[UUID], first_day: date, until: date, *units: str) -> list[list[Any]]:
        """Of each day with any usage: its number, and of each unit the counts of its hours."""
        days: dict[int, list[list[int]]] = {}
        for agent_id in of:
            for at, counted in self.usage[agent_id].items():
                if first_day <= at.date() < until:
                    of_day = days.setdefault((at.date() - first_day).days, [[0] * 24 for _ in units])
                    for counts, unit in zip(of_day, units, strict=True):
                        counts[at.hour] += getattr(counted, unit)
        return [[day, *counts] for day, counts in sorted(days.items())]

    def _each(self, *units: str, first_day: date, until: date, **more: Any) -> list[dict[str, Any]]:
        return [
            {"agent_id": agent_id, "agent_name": name, "history": self._history([agent_id], first_day, until, *units)}
            | more
            for agent_id, name in self.names.items()
        ]

    def _markers(self, **_: Any) -> list[dict[str, Any]]:
        return [vars(marker) for marker in self.markers]

    def _spike(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        return self._each("tokens", first_day=first_day, until=until)

    def _silence(self, first_day: date, until: date, max_sampled: int, **_: Any) -> list[dict[str, Any]]:
        rows = self._each("requests", first_day=first_day, until=until)
        active = [row for row in rows if row["history"] and row["agent_id"] not in self.inactive]
        return [row | {"is_sampled": place < max_sampled} for place, row in enumerate(active)]

    def _weekend(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rest_days = {"agent_id": None, "agent_name": None, "history": self.rest_days}
        return [*self._each("tokens", first_day=first_day, until=until), rest_days]

    def _rejections(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rows = self._each("rejected", "tokens", first_day=first_day, until=until, sources=None)
        return [row | {"is_active": row["agent_id"] not in self.inactive} for row in rows]

    def _uncached_tokens(self, first_day: date, until: date, **_: Any) -> list[dict[str, Any]]:
        rows = self._each("tokens", "requests", first_day=first_day, until=until)
        return [row | {"expected_replicas": self.replicas.get(row["agent_id"])} for row in rows]


class Fleet(Usage):
    """The agents of an organization in the database. Nothing is stored before :meth:`store`, which is called once."""

    def __init__(self, services: Services, reader: Agent, client: FlaskClient) -> None:
        super().__init__()
        self.services, self.reader, self.client = services, reader, client
        self.api = Api(client, reader)

    @property
    def organization_id(self) -> str:
        """Whose fleet it is."""
        return self.reader.organization_id

    @property
    def database(self) -> OrganizationDatabase:
        """The database as the organization sees it now."""
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
        """Create a credential at an instant, which was last used at another."""
        with self.services.database.of(self.organization_id, at).transaction() as opened:
            row, _ = add_credential(opened, agent_id, label=label, expires_at=expires_at)
        if used_at is not None:
            self.use(row.credential_id, used_at)
        credential_id: UUID = row.credential_id
        return credential_id

    def use(self, credential_id: UUID, at: datetime) -> None:
        """What the function that issues tokens notes of a credential."""
        with self.database.transaction() as opened:
            opened._connection.execute(
                "update credentials set last_used_at = %s where credential_id = %s", [at, credential_id]
            )

    def store(self, *, slots: int = 1) -> None:
        """Store what was counted, each count shared out among so many slots."""
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
                    # Out of the way of the next, which is added to the same slot.
                    for table in ("usage_daily", "agent_usage_daily"):
                        transaction._connection.execute(f"update {table} set slot = {slot}")
                add_usage(transaction, sums)

    def findings(self, kind: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """What the service finds now, of one kind or of all, without storing it.

        :param query: arguments of :func:`agentidp.findings.build_findings_query`.
        """
        computed = compute_findings(
            self.database.run, build_findings_query(self.database.at, self.services.settings, **query)
        )
        assert not computed.not_computed
        return [reported.represent() for reported in computed.findings if kind in (None, reported.kind)]

    def listed(self, **query: Any) -> Any:
        """The body of ``GET /api/v1/analytics/findings``."""
        response = self.api.get(FINDINGS, **query)
        assert response.status_code == 200, response.json
        return response.json


def asked(at: datetime = NOON, *, days: int = DEFAULT_DAYS, token_ttl: int = 3600) -> FindingsQuery:
    """What is asked for, also of what is registered."""
    return FindingsQuery(at=at, days=days, token_ttl=token_ttl, includes_registry=True)


@dataclass
class History:
    """The stored findings, evaluation after evaluation, on plain lists: what happened to them, and what was sent."""

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
        """Look again, and store what became of the findings."""
        self.at += after
        result = reconcile([*self.stored.values()], computed, self.at, not_computed=not_computed)
        escalated = {reported.finding_id for reported, what in result.changes if what is FindingChange.escalated}
        findings, alerts = decide_alerts(result.findings, muted, result.changed_kind_ids, escalated)
        self.stored |= {reported.finding_id: reported for reported in findings}
        self.happened += [(reported.finding_id, what) for reported, what in result.changes]
        self.alerts += alerts

    def find(self, letters: str) -> None:
        """Look for each letter: a spike that has gone on since noon, with the severity that begins with it, or ``-`` or
        ``_`` for nothing. With a capital, and ``_``, spikes of the organization are muted.
        """
        for letter in letters:
            severity = {severity.name[0]: severity for severity in Severity}.get(letter.lower())
            computed = [a_finding(self.at, begins=NOON, severity=severity)] if severity else []
            is_muted = letter == "_" or letter.isupper()
            self.look(*computed, muted=[("spike", ORGANIZATION)] if is_muted else ())

    @property
    def only(self) -> StoredFinding:
        """The one finding that there has been."""
        [reported] = self.stored.values()
        return reported

    @property
    def happenings(self) -> list[str]:
        """What happened to the findings."""
        return [what.value for _, what in self.happened]


def body(kind: str, severity: str, about: tuple[UUID, str] | None = None, **members: Any) -> dict[str, Any]:
    """The JSON of a finding; *members* replace those that say that there is nothing."""
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
    """The members of a finding that say how much was seen."""
    return {
        "observed": {"value": observed, "unit": unit},
        "expected": {"value": expected, "unit": unit, "baseline": baseline},
    }


def window(begins: str, ends: str) -> dict[str, str]:
    """The window of a finding, of which minutes are given."""
    return {"from": f"{begins}:00.000000Z", "to": f"{ends}:00.000000Z"}


def make_a_story(fleet: Fleet, *, slots: int = 1) -> UUID:
    """Store a fleet of which every kind of finding has something to say: the demo's, with an agent that works from
    Monday to Friday, and then from Saturday 23:00 to Sunday 01:00.

    :returns: the agent that falls silent.
    """
    agents = {agent: fleet.agent(agent.name) for agent in demo.AGENTS}
    for row in demo.generate_traffic(STORY_AT):
        requests = row.requests - row.tokens
        fleet.count(agents[row.agent], row.starts_at, row.tokens, requests=requests, rejected=row.rejected)
    run, outage = datetime(2026, 3, 28, 23, tzinfo=UTC), demo.find_working_day(STORY_AT.date(), demo.OUTAGE_AGO)

    def tokens_of_worker(hour: datetime) -> int:
        if hour.weekday() < 5:
            return 20 if 8 <= hour.hour < 18 and hour.date() != outage else 0
        return 300 if run <= hour < run + timedelta(hours=2) else 0

    fleet.work(fleet.agent("worker"), datetime(2026, 1, 26, tzinfo=UTC), STORY_AT, tokens_of_worker)
    fleet.store(slots=slots)
    with fleet.database.transaction() as transaction:
        update_organization(transaction, {"monthly_token_budget": demo.RETRY_TOKENS})
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
    """Acme's; the agent that reads is registered and has counted nothing."""
    return Fleet(services, cast.acme, client)


@pytest.fixture
def outsiders(services: Services, cast: Cast, client: FlaskClient) -> Fleet:
    """The other organization's, which must change nothing of Acme's findings."""
    return Fleet(services, cast.outsider, client)
