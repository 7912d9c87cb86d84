"""``/api/v1/resource-servers``. Identifiers are tested in ``test_resource_identifiers.py``."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from agentidp.scopes import SCOPES
from tests.conftest import ON_CITUS_TOO
from tests.factories import Api, make_agent, make_organization


@pytest.fixture
def server(acme: Api) -> dict[str, Any]:
    """A resource server with two scopes and a new identifier, because the tests share the application."""
    resource = f"https://billing.example/{uuid.uuid4()}"
    body = {"resource": resource, "name": "billing", "scopes": ["invoices:read", "invoices:write"]}
    response = acme.post("resource-servers", body)
    assert response.status_code == 201
    registered: dict[str, Any] = response.json
    return registered


def change(acme: Api, server: dict[str, Any], **body: Any) -> Any:
    return acme.patch(f"resource-servers/{server['resourceServerId']}", body)


def test_can_be_registered_with_a_token_for_each_call(acme: Api) -> None:
    body = {"resource": f"https://{uuid.uuid4()}.example", "name": "one", "tokenPerCall": True}
    body |= {"audience": None, "tokenTtl": None, "subject": "agent", "agentId": None}
    response = acme.post("resource-servers", body)
    defaults = {
        "resourceServerId": response.json["resourceServerId"],
        "scopes": [],
        "createdAt": "2026-04-15T12:00:00.000000Z",
    }
    assert (response.status_code, response.json) == (201, body | defaults)
    event = acme.last_event()
    assert (event["action"], event["after"]) == ("resource_server.created", body | {"scopes": []})


@ON_CITUS_TOO
def test_a_change_leaves_what_it_does_not_name(acme: Api, server: dict[str, Any]) -> None:
    assert server["tokenPerCall"] is False
    expected = server
    for body in ({"name": "bills"}, {"scopes": ["invoices:read"]}, {"tokenPerCall": True}):
        changed, event = change(acme, server, **body), acme.last_event()
        before = {member: expected[member] for member in body}
        expected = expected | body
        assert (changed.status_code, changed.json) == (200, expected)
        assert (event["action"], event["before"], event["after"]) == ("resource_server.changed", before, body)
    path = f"resource-servers/{server['resourceServerId']}"
    assert acme.get(path).json == expected
    assert acme.delete(path).status_code == 204
    event = acme.last_event()
    recorded = {name: value for name, value in expected.items() if name not in ("resourceServerId", "createdAt")}
    assert (event["action"], event["before"], event["after"]) == ("resource_server.deleted", recorded, None)


def test_an_agent_of_the_organization_runs_it(acme: Api, server: dict[str, Any]) -> None:
    services, runs = acme.agent.services, make_agent(acme.agent.services, acme.agent.organization_id, name="runs it")
    foreign, path = make_agent(services, make_organization(services)), f"resource-servers/{server['resourceServerId']}"
    assert change(acme, server, agentId=runs.client_id).json == server | {"agentId": runs.client_id}
    assert acme.last_event()["after"]["agentId"] == runs.client_id
    assert acme.delete(f"agents/{runs.client_id}").status_code == 204
    # The id of a deleted agent stays, because no other agent gets it. It cannot be set again.
    assert change(acme, server, name="other").json == server | {"agentId": runs.client_id, "name": "other"}
    for agent_id in (runs.client_id, foreign.client_id):
        refused = change(acme, server, agentId=agent_id)
        assert (refused.status_code, refused.json["details"]) == (
            400,
            {"agentId": ["must be an agent of the organization"]},
        )
        body = {"resource": f"{server['resource']}/2", "name": "new", "agentId": agent_id}
        assert acme.post("resource-servers", body).json["details"] == refused.json["details"]
    assert change(acme, server, agentId=None).json["agentId"] is None
    assert acme.get(path).json == server | {"name": "other"}


def test_a_scope_that_is_removed_is_in_no_further_token(acme: Api, server: dict[str, Any]) -> None:
    scopes = {"scopes": ["agents:write", "invoices:read", "invoices:write"]}
    assert acme.patch(f"agents/{acme.agent.client_id}", scopes).status_code == 200
    assert acme.token(resource=server["resource"]).json["scope"] == "invoices:read invoices:write"
    assert change(acme, server, scopes=["invoices:write"]).status_code == 200
    assert acme.token(resource=server["resource"]).json["scope"] == "invoices:write"


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
    acme: Api, server: dict[str, Any], body: dict[str, Any], details: dict[str, list[str]]
) -> None:
    response = change(acme, server, **body)
    assert (response.status_code, response.json["details"]) == (400, details)
    assert acme.get("resource-servers").json == {"data": [server]}
