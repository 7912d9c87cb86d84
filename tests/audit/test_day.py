"""The audit trail of a scripted day, as a whole."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from agentidp.actor import operator as os_user
from agentidp.services import Services
from tests.audit.conftest import events_of, verified
from tests.cli.command import Command
from tests.dashboard.conftest import SAME_ORIGIN
from tests.factories import NEW_AGENT, Agent, make_agent, make_organization


@pytest.fixture
def acme(services: Services) -> Agent:
    """The administrator of a new organization."""
    return make_agent(services, make_organization(services), "administrator")


def test_the_trail_of_a_day(
    quiet: None, client: FlaskClient, services: Services, database_url: str, acme: Agent, clock: Any
) -> None:
    run, organization = Command(database_url), acme.organization_id
    api = {"headers": acme.bearer() | {"X-Request-Id": "r"}, "environ_base": {"REMOTE_ADDR": "192.0.2.7"}}
    page = {"headers": SAME_ORIGIN | {"X-Request-Id": "p"}, "environ_base": {"REMOTE_ADDR": "192.0.2.8"}}
    agent_id = client.post("/api/v1/agents", json={"name": "reader"}, **api).json["agentId"]
    path = f"/api/v1/agents/{agent_id}"
    credential_id = client.post(f"{path}/credentials", json={"label": "laptop"}, **api).json["credentialId"]
    clock.advance(hours=1)
    client.patch(path, json={"name": "writer", "scopes": ["agents:read"]}, **api)
    client.delete(f"{path}/credentials/{credential_id}", **api)
    server = {"resource": "https://api.example", "name": "api", "scopes": ["a"], "tokenPerCall": False}
    server |= {"audience": None, "tokenTtl": 300, "subject": "agent", "agentId": None}
    server_id = client.post("/api/v1/resource-servers", json=server, **api).json["resourceServerId"]
    client.patch(f"/api/v1/resource-servers/{server_id}", json={"scopes": ["a", "b"]}, **api)
    client.delete(f"/api/v1/resource-servers/{server_id}", **api)
    client.patch("/api/v1/organization", json={"monthlyTokenBudget": 1000}, **api)
    sign_in = {"client_id": acme.client_id, "client_secret": acme.client_secret}
    client.post("/dashboard/sign-in", data=sign_in | {"client_secret": "wrong"}, **page)
    client.post("/dashboard/sign-in", data=sign_in, **page)
    client.post(f"/dashboard/agents/{agent_id}/suspend", **page)
    client.post("/dashboard/sign-out", **page)
    client.delete(path, **api)
    run("resource-server", "release", "--yes", "https://api.example")

    by_operator, by_agent = ("operator", os_user().name, None, None), ("agent", acme.client_id, "192.0.2.7", "r")
    by_session, by_nobody = (
        ("session", acme.client_id, "192.0.2.8", "p"),
        ("anonymous", "anonymous", "192.0.2.8", "p"),
    )
    reader = NEW_AGENT | {"name": "reader"}
    laptop = {"agentId": agent_id, "type": "secret", "label": "laptop", "jwks": None, "expiresAt": None}
    events = events_of(database_url, organization)
    assert [
        (
            (event["actorType"], event["actor"], event["clientAddress"], event["requestId"]),
            event["action"],
            event["subject"],
            event["before"],
            event["after"],
        )
        # The first three are those of the fixture.
        for event in events[3:]
    ] == [
        (by_agent, "agent.created", agent_id, None, reader),
        (by_agent, "credential.created", credential_id, None, laptop),
        (
            by_agent,
            "agent.changed",
            agent_id,
            {"name": "reader", "scopes": ["analytics:read", "agents:read"]},
            {"name": "writer", "scopes": ["agents:read"]},
        ),
        (by_agent, "credential.revoked", credential_id, laptop, None),
        (by_agent, "resource_server.created", server_id, None, server),
        (by_agent, "resource_server.changed", server_id, {"scopes": ["a"]}, {"scopes": ["a", "b"]}),
        (by_agent, "resource_server.deleted", server_id, server | {"scopes": ["a", "b"]}, None),
        (
            by_agent,
            "organization.changed",
            organization,
            {"monthlyTokenBudget": None},
            {"monthlyTokenBudget": 1000},
        ),
        (
            by_nobody,
            "agent.sign_in_refused",
            acme.client_id,
            None,
            {"by": "credential", "reason": "invalid_client"},
        ),
        (by_session, "agent.signed_in", acme.client_id, None, {"by": "credential"}),
        (by_session, "agent.changed", agent_id, {"status": "active"}, {"status": "suspended"}),
        (by_session, "agent.signed_out", acme.client_id, None, None),
        (
            by_agent,
            "agent.deleted",
            agent_id,
            reader | {"name": "writer", "scopes": ["agents:read"], "status": "suspended"},
            None,
        ),
        (by_operator, "resource.released", "https://api.example", {"organizationId": organization}, None),
    ]
    times = [event["at"] for event in events[3:-1]]
    assert times == ["2026-04-15T12:00:00.000000Z"] * 2 + ["2026-04-15T13:00:00.000000Z"] * 11
    assert re.fullmatch(r"[0-9a-f]{64}", events[-1]["hash"])
    assert verified(database_url, organization).broken_at is None
