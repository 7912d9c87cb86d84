"""``GET /api/v1/analytics/{agents,credentials,resources}/days``."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.analytics import agent_usage_by_day, attribution
from agentidp.registry.resource_servers import add_resource_server
from agentidp.services import Services
from tests.analytics.conftest import OWN, ask
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, Clock, database_of, make_agent


@pytest.fixture
def server(services: Services, cast: Cast) -> Any:
    """A resource server of Acme. The tests share a database, in which no identifier is free again."""
    resource = f"https://{uuid.uuid4()}.example"
    with database_of(services, cast.acme.organization_id).transaction() as transaction:
        return add_resource_server(
            transaction, services.settings, resource=resource, name="Billing", scopes=["invoices:read"]
        )


@pytest.fixture
def worker(client: FlaskClient, services: Services, cast: Cast, clock: Clock, server: Any) -> Agent:
    """An agent with tokens on three days. The first day is before the period of the tests."""
    agent = make_agent(services, cast.acme.organization_id, "worker", ["analytics:read", "invoices:read"])
    for days, tokens, form in ((3, 1, {}), (2, 2, {}), (0, 4, {"resource": server.resource})):
        clock.now = NOON - timedelta(days)
        agent.get_tokens(client, tokens, **form)
    cast.acme.get_tokens(client, 5)
    cast.outsider.get_tokens(client, 6)
    return agent


@ON_CITUS_TOO
def test_returns_one_row_per_day_with_tokens(client: FlaskClient, cast: Cast, worker: Agent, server: Any) -> None:
    names = {"agentId": worker.client_id, "agentName": "worker"}
    builder = {"agentId": cast.acme.client_id, "agentName": "builder"}
    assert ask(client, cast, "analytics/agents/days?days=3") == {
        "tenantId": cast.acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [
            {"date": "2026-04-13", "tokens": 2, **names},
            {"date": "2026-04-15", "tokens": 5, **builder},
            {"date": "2026-04-15", "tokens": 4, **names},
        ],
    }
    secret = {"credentialId": str(worker.credential_ids()[0]), "label": None, "type": "secret"}
    by_credential = ask(client, cast, "analytics/credentials/days?days=3")["data"]
    assert by_credential[:2] == [
        {"date": "2026-04-13", "tokens": 2, **names, **secret},
        {"date": "2026-04-15", "tokens": 4, **names, **secret},
    ]
    assert ask(client, cast, f"analytics/credentials/days?days=3&agent={worker.agent_id}")["data"] == by_credential[:2]
    own = {"resource": OWN, "resourceServerId": None, "name": None}
    billing = {
        "resource": server.resource,
        "resourceServerId": str(server.resource_server_id),
        "name": "Billing",
    }
    assert ask(client, cast, "analytics/resources/days?days=3")["data"] == [
        {"date": "2026-04-13", "tokens": 2, **own},
        {"date": "2026-04-15", "tokens": 5, **own},
        {"date": "2026-04-15", "tokens": 4, **billing},
    ]


@pytest.mark.parametrize("holder", ["agents", "credentials", "resources"])
def test_all_rows_are_the_tokens_of_the_organization(
    client: FlaskClient, cast: Cast, worker: Agent, holder: str
) -> None:
    worker.count(NOON, tokens=9)  # Imported usage is not attributed.
    path = f"/api/v1/analytics/{holder}/days?month=2026-04"
    headers = cast.acme.bearer()
    rows = client.get(path, headers=headers).json["data"]
    trend = ask(client, cast, "analytics/tokens?month=2026-04")["data"]
    for day in trend:
        assert sum(row["tokens"] for row in rows if row["date"] == day["date"]) == day["count"]
    lines = client.get(path, headers=headers | {"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = csv.DictReader(io.StringIO(client.get(path, headers=headers | {"Accept": "text/csv"}).text))
    assert [(row["date"], int(row["tokens"])) for row in table] == [(row["date"], row["tokens"]) for row in rows]


@pytest.mark.parametrize("holder", ["agents", "credentials", "resources"])
def test_refuses_more_rows_than_a_response_may_have(
    client: FlaskClient, cast: Cast, worker: Agent, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    for module in (agent_usage_by_day, attribution):
        monkeypatch.setattr(module, "MAX_ROWS", 3)
    assert len(ask(client, cast, f"analytics/{holder}/days?days=3")["data"]) == 3
    refusal = ask(client, cast, f"analytics/{holder}/days?days=4", 400)
    assert refusal["details"] == {"days": ["must be fewer, because the response would have more than 3 rows"]}
