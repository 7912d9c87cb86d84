"""``/api/v1/resource-servers``: what the tests of all routes and of resource identifiers do not cover."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.scopes import SCOPES
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import Agent

NOT_FOUND = {"code": "NOT_FOUND", "message": "There is nothing at this address.", "details": {}}


def register(client: FlaskClient, agent: Agent) -> dict[str, Any]:
    """A resource server with two scopes, and an identifier of its own, as the application is shared."""
    resource = f"https://billing.example/{uuid.uuid4()}"
    body = {"resource": resource, "name": "billing", "scopes": ["invoices:read", "invoices:write"]}
    response = client.post("/api/v1/resource-servers", json=body, headers=agent.bearer())
    assert response.status_code == 201
    made: dict[str, Any] = response.json
    return made


def test_can_be_registered_with_a_token_for_each_call(client: FlaskClient, cast: Cast) -> None:
    body = {"resource": f"https://{uuid.uuid4()}.example", "name": "one", "tokenPerCall": True}
    body |= {"audience": None, "tokenTtl": None, "subject": "agent"}
    response = client.post("/api/v1/resource-servers", json=body, headers=cast.acme.bearer())
    assert (response.status_code, response.json) == (
        201,
        body
        | {
            "resourceServerId": response.json["resourceServerId"],
            "scopes": [],
            "createdAt": "2026-04-15T12:00:00.000000Z",
        },
    )
    [event] = client.get("/api/v1/audit?limit=1", headers=cast.acme.bearer()).json["data"]
    assert (event["action"], event["after"]) == ("resource_server.created", body | {"scopes": []})


def change(client: FlaskClient, agent: Agent, made: dict[str, Any], **body: Any) -> TestResponse:
    """Change it."""
    return client.patch(f"/api/v1/resource-servers/{made['resourceServerId']}", json=body, headers=agent.bearer())


@ON_CITUS_TOO
def test_a_change_leaves_what_it_does_not_name(client: FlaskClient, cast: Cast) -> None:
    made = register(client, cast.acme)
    renamed = change(client, cast.acme, made, name="bills")
    assert (renamed.status_code, renamed.json) == (200, made | {"name": "bills"})
    fewer = change(client, cast.acme, made, scopes=["invoices:read"])
    assert (fewer.status_code, fewer.json) == (200, made | {"name": "bills", "scopes": ["invoices:read"]})
    assert made["tokenPerCall"] is False
    per_call = change(client, cast.acme, made, tokenPerCall=True)
    assert (per_call.status_code, per_call.json) == (200, fewer.json | {"tokenPerCall": True})
    path = f"/api/v1/resource-servers/{made['resourceServerId']}"
    assert client.get(path, headers=cast.acme.bearer()).json == per_call.json


def test_a_scope_that_is_removed_is_in_no_further_token(client: FlaskClient, cast: Cast) -> None:
    made = register(client, cast.acme)
    path = f"/api/v1/agents/{cast.acme.client_id}"
    scopes = ["agents:write", "invoices:read", "invoices:write"]
    assert client.patch(path, json={"scopes": scopes}, headers=cast.acme.bearer()).status_code == 200
    form = {"grant_type": "client_credentials", "resource": made["resource"]}
    form |= {"client_id": cast.acme.client_id, "client_secret": cast.acme.client_secret}
    assert client.post("/api/v1/token", data=form).json["scope"] == "invoices:read invoices:write"
    assert change(client, cast.acme, made, scopes=["invoices:write"]).status_code == 200
    assert client.post("/api/v1/token", data=form).json["scope"] == "invoices:write"


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, {"body": ["must name something to change"]}),
        ({"resource": "https://other.example"}, {"resource": ["Unknown field."]}),
        (
            {"scopes": ["agents:read"]},
            {"scopes": [f"must not contain a scope of this server's own API: {', '.join(SCOPES)}"]},
        ),
    ],
)
def test_a_change_that_is_refused(
    client: FlaskClient, cast: Cast, body: dict[str, Any], details: dict[str, list[str]]
) -> None:
    made = register(client, cast.acme)
    response = change(client, cast.acme, made, **body)
    assert (response.status_code, response.json["details"]) == (400, details)
    assert client.get("/api/v1/resource-servers", headers=cast.acme.bearer()).json == {"data": [made]}


def test_another_organization_changes_nothing(client: FlaskClient, cast: Cast) -> None:
    made = register(client, cast.acme)
    response = change(client, cast.outsider, made, name="mine")
    assert (response.status_code, response.json) == (404, NOT_FOUND)
    assert client.get("/api/v1/resource-servers", headers=cast.acme.bearer()).json == {"data": [made]}
