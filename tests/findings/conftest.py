"""A fleet whose usage a test makes up, hour by hour, and what the service finds in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp import demo
from agentidp.findings import findings, findings_query
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential
from agentidp.registry.quotas import set_quota
from agentidp.services import Services
from agentidp.usage_history.adding import Hours, add_usage, hour_number
from tests.conftest import Cast
from tests.factories import Agent, database_of, make_agent
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

FINDINGS = "/api/v1/analytics/findings"

STORY_AT = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)
"""Up to when there is usage in :func:`make_a_story`: the first of a month."""

STORY_DAYS = (3, 4, 5, 19, 20, 38, 39, 90)
"""How far to look back from then: with the first day of each thing in it, and just not."""


class Counted(NamedTuple):
    """What is counted of an agent in an hour. A token is a request too."""

    tokens: int = 0
    requests: int = 0
    rejected: int = 0


@dataclass
class Fleet:
    """The agents of an organization. Nothing is stored before :meth:`store`, which is called once."""

    services: Services
    reader: Agent
    client: FlaskClient
    usage: dict[tuple[UUID, date, int], Counted] = field(default_factory=lambda: defaultdict(Counted))

    @property
    def organization_id(self) -> str:
        """Whose fleet it is."""
        return self.reader.organization_id

    def agent(self, name: str) -> UUID:
        """Register an agent."""
        return make_agent(self.services, self.organization_id, name).agent_id

    def registered(self, name: str, at: datetime) -> UUID:
        """Register an agent without a credential at an instant."""
        with self.services.database.of(self.organization_id, at).transaction() as opened:
            agent = add_agent(opened, name=name, description="", scopes=[], most=1000)
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
        with database_of(self.services, self.organization_id).transaction() as opened:
            opened._connection.execute(
                "update credentials set last_used_at = %s where credential_id = %s", [at, credential_id]
            )

    def count(self, agent_id: UUID, at: datetime, tokens: int = 0, *, requests: int = 0, rejected: int = 0) -> None:
        """Count usage in the hour of *at*; *requests* are those beyond the tokens' own."""
        key = agent_id, at.date(), at.hour
        now = self.usage[key]
        self.usage[key] = Counted(now.tokens + tokens, now.requests + tokens + requests, now.rejected + rejected)

    def work(
        self, agent_id: UUID, begins: datetime, ends: datetime, tokens: Callable[[datetime], int], **more: int
    ) -> None:
        """Count ``tokens(hour)`` in each hour from *begins* to before *ends* for which it is not zero."""
        at = begins
        while at < ends:
            if tokens(at):
                self.count(agent_id, at, tokens(at), **more)
            at += timedelta(hours=1)

    def store(self) -> None:
        """Store what was counted."""
        sums: dict[UUID, Hours] = {}
        for (agent_id, day, hour), counted in self.usage.items():
            sums.setdefault(agent_id, {})[hour_number(day, hour)] = list(counted)
        with database_of(self.services, self.organization_id).transaction() as transaction:
            add_usage(transaction, sums)

    def store_in_another_slot(self) -> None:
        """Store what is stored once more, in a second slot: each count doubles."""
        with database_of(self.services, self.organization_id).transaction() as transaction:
            for table in ("usage_daily", "agent_usage_daily"):
                transaction._connection.execute(
                    f"insert into {table} select (jsonb_populate_record({table}, '{{\"slot\": 1}}')).* from {table}"
                )

    def findings(self, kind: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """What the service finds now, of one kind or of all, without storing it.

        :param query: arguments of :func:`agentidp.findings.findings_query`.
        """
        services: Services = self.client.application.extensions["agentidp"]
        database = database_of(services, self.organization_id)
        found = findings(database.run, findings_query(database.at, services.settings, **query))
        assert not found.not_computed
        return [one.represent() for one in found.findings if kind in (None, one.kind)]

    def listed(self, **query: Any) -> Any:
        """The body of ``GET /api/v1/analytics/findings``."""
        response = self.client.get(FINDINGS, query_string=query, headers=self.reader.bearer())
        assert response.status_code == 200, response.json
        return response.json


def make_a_story(fleet: Fleet) -> UUID:
    """Store a fleet of which every kind of finding has something to say: the demo's, with an agent that works from
    Monday to Friday, and then from Saturday 23:00 to Sunday 01:00.

    :returns: the agent that falls silent.
    """
    agents = {agent: fleet.agent(agent.name) for agent in demo.AGENTS}
    for row in demo.traffic(STORY_AT):
        at = datetime.combine(row.day, time(row.hour), UTC)
        tokens, requests, rejected = row.usage
        fleet.count(agents[row.agent], at, tokens, requests=requests - tokens, rejected=rejected)
    run, outage = datetime(2026, 3, 28, 23, tzinfo=UTC), demo.Calendar.of(STORY_AT.date()).outage

    def tokens_of_worker(hour: datetime) -> int:
        if hour.weekday() < 5:
            return 20 if 8 <= hour.hour < 18 and hour.date() != outage else 0
        return 300 if run <= hour < run + timedelta(hours=2) else 0

    fleet.work(fleet.agent("worker"), datetime(2026, 1, 26, tzinfo=UTC), STORY_AT, tokens_of_worker)
    fleet.store()
    with database_of(fleet.services, fleet.organization_id).transaction() as transaction:
        transaction.fetch(
            "organizations/set_budget", organization_id=fleet.organization_id, monthly_token_budget=demo.RETRY_TOKENS
        )
        set_quota(transaction, None, "month", tokens=1, is_enforced=False)
    since = STORY_AT - timedelta(days=100)
    dormant_id = fleet.registered("dormant", since)
    fleet.credential(dormant_id, since)
    fleet.credential(agents[demo.OPERATOR], since, expires_at=STORY_AT + timedelta(days=5))
    return agents[demo.SILENT]


@pytest.fixture
def fleet(services: Services, cast: Cast, client: FlaskClient) -> Fleet:
    """Acme's; the agent that reads is registered and has counted nothing."""
    return Fleet(services, cast.acme, client)


@pytest.fixture
def outsiders(services: Services, cast: Cast, client: FlaskClient) -> Fleet:
    """The other organization's, which must change nothing of Acme's findings."""
    return Fleet(services, cast.outsider, client)
