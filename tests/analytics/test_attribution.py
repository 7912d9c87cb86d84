"""``GET /api/v1/analytics/credentials`` and ``…/resources``: who uses what, to the token."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from agentidp.maintenance.erasure import erase_agent
from agentidp.registry import operator_token
from agentidp.registry.agents import remove_agent
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.registry.resource_servers import remove_resource_server
from agentidp.services import Services
from agentidp.usage_history.adding import add_usage, compute_hour_number
from tests.analytics.conftest import API, OWN, ask
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, Clock, database_of, make_agent

CREDENTIALS, RESOURCES = "analytics/credentials", "analytics/resources"
NOW = "2026-04-15T12:00:00.000000Z"


def worker(services: Services, cast: Cast, name: str = "worker", further: tuple[str, ...] = ()) -> Agent:
    return make_agent(services, cast.acme.organization_id, name, ["analytics:read", *further])


def another(agent: Agent, label: str | None = None, expires_at: datetime | None = None) -> tuple[UUID, str]:
    """A further credential of an agent: its id and its secret."""
    with database_of(agent.services, agent.organization_id).transaction() as opened:
        row, client_secret = add_credential(opened, agent.agent_id, label=label, expires_at=expires_at)
    assert client_secret is not None
    return row.credential_id, client_secret


def credential(agent: Agent, credential_id: UUID | None, name: str = "worker", **members: Any) -> dict[str, Any]:
    """An item, as it is of a secret that was made and used now, unless *members* say otherwise."""
    return {
        "credentialId": str(credential_id),
        "agentId": agent.client_id,
        "agentName": name,
        "label": None,
        "type": "secret",
        "createdAt": NOW,
        "expiresAt": None,
        "lastUsedAt": NOW,
        "revokedAt": None,
        "tokens": 0,
        "tokensByDay": [0],
        "resources": [],
    } | members


@ON_CITUS_TOO
def test_each_token_belongs_to_its_credential_its_resource_and_its_day(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock, api: UUID
) -> None:
    agent, other = (worker(services, cast, name, ("invoices:read",)) for name in ("worker", "other"))
    old = agent.credential_ids()[0]
    new, secret = another(agent, "deploy", NOON + timedelta(days=30))
    unused, _ = another(agent, "spare")
    # The last moment of a day, and the first one of the next.
    clock.now = datetime(2026, 4, 13, 23, 59, 59, 999_999, tzinfo=UTC)
    agent.get_tokens(client, 2)
    clock.now = datetime(2026, 4, 14, tzinfo=UTC)
    agent.get_tokens(client, 1, resource=API)
    clock.now = NOON
    agent.get_tokens(client, 3, client_secret=secret)
    agent.get_tokens(client, 4, client_secret=secret, resource=API)
    other.get_tokens(client, 5, resource=API)
    cast.outsider.get_tokens(client, 6)
    # Before the period.
    clock.now = datetime(2026, 4, 12, 23, 59, 59, tzinfo=UTC)
    other.get_tokens(client, 9)
    clock.now = NOON
    body = ask(client, cast, f"{CREDENTIALS}?days=3")
    assert body | {"data": []} == {
        "tenantId": cast.acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [],
    }
    own, theirs = {"resource": OWN, "tokens": 3}, {"resource": API, "tokens": 4}
    expected = [
        credential(
            agent,
            new,
            label="deploy",
            expiresAt="2026-05-15T12:00:00.000000Z",
            tokens=7,
            tokensByDay=[0, 0, 7],
            resources=[theirs, own],
        ),
        credential(
            other,
            other.credential_ids()[0],
            "other",
            tokens=5,
            tokensByDay=[0, 0, 5],
            resources=[{"resource": API, "tokens": 5}],
        ),
        credential(
            agent,
            old,
            lastUsedAt="2026-04-13T23:59:59.999999Z",
            tokens=3,
            tokensByDay=[2, 1, 0],
            resources=[{"resource": OWN, "tokens": 2}, {"resource": API, "tokens": 1}],
        ),
    ]
    assert body["data"][:3] == expected
    never = [credential(agent, unused, label="spare", lastUsedAt=None, tokensByDay=[0, 0, 0])]
    administrator = cast.acme.credential_ids()[0]
    never.append(credential(cast.acme, administrator, "builder", lastUsedAt=None, tokensByDay=[0, 0, 0]))
    assert body["data"][3:] == sorted(never, key=lambda item: UUID(item["credentialId"]))
    only = ask(client, cast, f"{CREDENTIALS}?days=3&agent={agent.agent_id}")
    assert only["data"] == [item for item in body["data"] if item["agentId"] == agent.client_id]

    assert ask(client, cast, f"{RESOURCES}?days=3") == {
        "tenantId": cast.acme.organization_id,
        "from": "2026-04-13",
        "to": "2026-04-15",
        "data": [
            {
                "resource": API,
                "resourceServerId": str(api),
                "name": "Billing",
                "tokens": 10,
                "tokensByDay": [0, 1, 9],
                "agents": sorted(
                    [
                        {"agentId": agent.client_id, "agentName": "worker", "tokens": 5},
                        {"agentId": other.client_id, "agentName": "other", "tokens": 5},
                    ],
                    key=lambda item: UUID(item["agentId"]),
                ),
            },
            {
                "resource": OWN,
                "resourceServerId": None,
                "name": None,
                "tokens": 5,
                "tokensByDay": [2, 0, 3],
                "agents": [{"agentId": agent.client_id, "agentName": "worker", "tokens": 5}],
            },
        ],
    }
    [theirs, ours] = ask(client, cast, f"{RESOURCES}?days=1&agent={other.agent_id}")["data"]
    assert (theirs["resource"], theirs["tokensByDay"], ours["tokensByDay"]) == (API, [5], [0])


def test_what_is_imported_is_not_attributed(client: FlaskClient, services: Services, cast: Cast) -> None:
    agent = worker(services, cast)
    agent.get_tokens(client, 2)
    hours = {compute_hour_number(date(2026, 4, 14), 3): [5, 5, 0], compute_hour_number(date(2026, 4, 15), 9): [1, 1, 0]}
    with database_of(services, agent.organization_id).transaction() as opened:
        add_usage(opened, {agent.agent_id: hours})
    not_attributed = {"credentialId": None, "type": "not_attributed", "createdAt": None, "lastUsedAt": None}
    not_attributed |= {"tokens": 6, "tokensByDay": [5, 1]}
    of_all, used, *_ = ask(client, cast, f"{CREDENTIALS}?days=2")["data"]
    assert of_all == credential(agent, None, agentId=None, agentName=None, **not_attributed)
    assert (used["tokens"], used["tokensByDay"]) == (2, [0, 2])
    assert ask(client, cast, f"{CREDENTIALS}?days=2&agent={agent.agent_id}")["data"] == [
        credential(agent, None, **not_attributed),
        used,
    ]
    for query in ("days=2", f"days=2&agent={agent.agent_id}"):
        data = ask(client, cast, f"{RESOURCES}?{query}")["data"]
        assert [(item["resource"], item["tokensByDay"], len(item["agents"])) for item in data] == [
            (None, [5, 1], 0),
            (OWN, [0, 2], 1),
        ]


def test_history_stays_attributed_when_what_it_belongs_to_ends(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock, database_url: str, api: UUID
) -> None:
    agent = worker(services, cast, further=("invoices:read",))
    credential_id = agent.credential_ids()[0]
    agent.get_tokens(client, 3, resource=API)
    ended, secret = another(agent, "old")
    agent.get_tokens(client, 1, client_secret=secret)
    clock.advance(days=1)
    with database_of(services, agent.organization_id).transaction() as opened:
        end_credential(opened, agent.agent_id, ended)
        remove_resource_server(opened, api)
    clock.advance(days=1)
    with database_of(services, agent.organization_id).transaction() as opened:
        remove_agent(opened, agent.agent_id)
    revoked, deleted = "2026-04-16T12:00:00.000000Z", "2026-04-17T12:00:00.000000Z"
    expected = [
        credential(
            agent,
            credential_id,
            revokedAt=deleted,
            tokens=3,
            tokensByDay=[3, 0, 0],
            resources=[{"resource": API, "tokens": 3}],
        ),
        credential(
            agent,
            ended,
            label="old",
            revokedAt=revoked,
            tokens=1,
            tokensByDay=[1, 0, 0],
            resources=[{"resource": OWN, "tokens": 1}],
        ),
    ]
    assert ask(client, cast, f"{CREDENTIALS}?days=3&agent={agent.agent_id}")["data"] == expected
    assert ask(client, cast, f"{CREDENTIALS}?days=3")["data"][:2] == expected
    # Nothing of the period is left of it.
    assert ask(client, cast, f"{CREDENTIALS}?days=1&agent={agent.agent_id}")["data"] == [
        expected[0] | {"tokens": 0, "tokensByDay": [0], "resources": []}
    ]
    [theirs, _] = ask(client, cast, f"{RESOURCES}?days=3")["data"]
    who = {"agentId": agent.client_id, "agentName": "worker", "tokens": 3}
    assert (theirs["resourceServerId"], theirs["name"], theirs["tokens"], theirs["agents"]) == (None, None, 3, [who])
    erase_agent(database_url, agent.organization_id, agent.agent_id, at=clock())
    erased = [item | {"agentName": "erased", "label": None} for item in expected]
    assert ask(client, cast, f"{CREDENTIALS}?days=3&agent={agent.agent_id}")["data"] == erased
    [theirs, _] = ask(client, cast, f"{RESOURCES}?days=3")["data"]
    assert theirs["agents"] == [who | {"agentName": "erased"}]


def test_tokens_of_the_operators_have_one_item_an_agent(client: FlaskClient, services: Services, cast: Cast) -> None:
    agent = worker(services, cast)
    for _ in range(2):
        operator_token.count_token(services, agent.organization_id, agent.agent_id, scope=None, resource=None, at=NOON)
    [operator, _] = ask(client, cast, f"{CREDENTIALS}?days=1&agent={agent.agent_id}")["data"]
    assert operator == credential(
        agent,
        UUID(operator["credentialId"]),
        type="operator",
        createdAt=None,
        lastUsedAt=None,
        tokens=2,
        tokensByDay=[2],
        resources=[{"resource": OWN, "tokens": 2}],
    )


@pytest.mark.parametrize("path", [CREDENTIALS, RESOURCES, "analytics/delegations"])
def test_an_agent_of_another_organization_does_not_exist(client: FlaskClient, cast: Cast, path: str) -> None:
    assert ask(client, cast, f"{path}?agent=worker", 400)["details"] == {"agent": ["must be an agent's id"]}
    for agent_id in (cast.outsider.agent_id, UUID(int=1)):
        assert ask(client, cast, f"{path}?agent={agent_id}", 404)["code"] == "NOT_FOUND"


def test_a_past_period_lists_the_credentials_that_were_in_force(
    client: FlaskClient, services: Services, cast: Cast, clock: Clock
) -> None:
    agent = worker(services, cast)
    first = agent.credential_ids()[0]
    agent.get_tokens(client, 2)
    clock.now = datetime(2026, 4, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    old, _ = another(agent, "old")
    clock.now = datetime(2026, 5, 1, tzinfo=UTC)
    new, _ = another(agent, "new")
    with database_of(services, agent.organization_id).transaction() as opened:
        end_credential(opened, agent.agent_id, old)
    for month, listed in (("2026-04", [(first, 2), (old, 0)]), ("2026-05", [(first, 0), (old, 0), (new, 0)])):
        data = ask(client, cast, f"{CREDENTIALS}?month={month}&agent={agent.agent_id}")["data"]
        tokens_by_id = {(UUID(item["credentialId"]), item["tokens"]) for item in data}
        assert tokens_by_id == {*listed}


def test_an_organization_without_tokens(client: FlaskClient, cast: Cast) -> None:
    [item] = ask(client, cast, f"{CREDENTIALS}?days=2")["data"]
    assert item == credential(cast.acme, cast.acme.credential_ids()[0], "builder", lastUsedAt=None, tokensByDay=[0, 0])
    [own] = ask(client, cast, RESOURCES)["data"]
    assert (own["resource"], own["tokens"], own["tokensByDay"], own["agents"]) == (OWN, 0, [0] * 30, [])
