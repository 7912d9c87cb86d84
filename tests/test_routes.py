"""Every route declares its authentication, and does what it declares."""

from __future__ import annotations

from configparser import ConfigParser

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.audit.conftest import events_of
from tests.factories import (
    IDS,
    RESOURCE_METADATA,
    ROOT,
    Agent,
    make_agent,
    make_one_of_each,
    make_organization,
)
from tests.routes import ALL, BODIES, PAGES, PROTECTED, ROUTES, SUSPENDED_AGENT, Route
from tests.sharing import acme, app

__all__ = ["acme", "app"]

PUBLIC = {
    "GET /",
    "GET /.well-known/jwks.json",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/oauth-protected-resource/api/v1",
    "GET /.well-known/oauth-protected-resource/api/v1/mcp",
    "GET /.well-known/openid-configuration",
    "GET /api/v1/openapi.json",
    "GET /authorize",
    "GET /authorize/callback",
    "GET /authorize/callback/<organization_id>",
    "GET /authorize/grants",
    "GET /dashboard/sign-in",
    "GET /dashboard/sign-in/oidc",
    "GET /dashboard/sign-in/oidc/callback",
    "GET /dashboard/sign-in/oidc/callback/<organization_id>",
    "GET /dashboard/static/<asset>",
    "GET /docs",
    "GET /docs/<asset>",
    "GET /healthz",
    "GET /readyz",
    "POST /authorize",
    "POST /authorize/grants",
    "POST /dashboard/sign-in",
}
"""The routes that anyone may call. A route is listed here on purpose only."""

OPERATORS_TOO = {"agentidp.registry.organizations"}
"""The module of protected routes that contains what commands do, so it imports the database."""


def test_every_route_declares_a_scope_or_that_it_is_public() -> None:
    assert [str(route) for route in ROUTES if route.authentication not in {*SCOPES, "client", "public"}] == []
    assert [str(route) for route in PAGES if route.authentication not in {"session", "public"}] == []


def test_a_route_is_public_on_purpose_only() -> None:
    public = {str(route) for route in ALL if route.authentication == "public"}
    assert public == PUBLIC, "declare the scope of the route, or add it to PUBLIC if anyone may call it"


def test_protected_routes_reach_the_database_by_their_caller_alone(app: Flask) -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    restricted = tuple(setup["importlinter:contract:database"]["source_modules"].split())
    rules = {rule.rule: rule.endpoint for rule in app.url_map.iter_rules()}
    modules = {app.view_functions[rules[route.rule]].__module__ for route in PROTECTED}
    assert len(modules) > 10
    assert {name for name in modules if not name.startswith(restricted)} == OPERATORS_TOO, "add it to setup.cfg"


def test_a_client_authenticates_at_the_oauth_endpoints_only() -> None:
    assert {str(route) for route in ALL if route.authentication == "client"} == {
        "POST /api/v1/token",
        "POST /api/v1/token/introspect",
        "POST /api/v1/token/revoke",
    }


def test_what_changes_something_needs_a_scope_to_write() -> None:
    # The tools only read.
    changing = [r for r in PROTECTED if r.method != "GET" and r.endpoint != "mcp.mcp"]
    assert [str(r) for r in changing if not (r.authentication or "").endswith(":write")] == []
    # A subject without a scope to read, such as where alerts go, is read by those who may change it.
    for route in PROTECTED:
        subject, _, may = (route.authentication or "").partition(":")
        assert route.method != "GET" or may != "write" or f"{subject}:read" not in SCOPES, route


def test_something_of_everything_that_an_address_names_can_be_made() -> None:
    named = {name for route in ALL for name in route.ids}
    assert named == IDS.keys(), "add to IDS in tests/factories.py how the thing is made"


def test_the_examples_name_routes_that_exist() -> None:
    assert set(BODIES) <= {route.endpoint for route in ROUTES}


def counted(sums: dict[str, int]) -> tuple[int, int, int]:
    """Tokens, requests and rejections of :func:`usage_sums`, each of which all counters agree on."""
    count_sets = {kind: {n for name, n in sums.items() if kind in name} for kind in ("tokens", "requests", "rejected")}
    [[tokens], [requests], [rejected]] = count_sets.values()
    return tokens, requests, rejected


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_returns_401_without_a_token(shared_client: FlaskClient, route: Route) -> None:
    response = shared_client.open(route.path(), method=route.method, json=route.body)
    assert response.status_code == 401
    assert response.json == {
        "code": "UNAUTHORIZED",
        "message": "Send an access token in the header Authorization: Bearer TOKEN.",
        "details": {},
    }
    metadata = RESOURCE_METADATA.replace('api/v1"', 'api/v1/mcp"') if route.endpoint == "mcp.mcp" else RESOURCE_METADATA
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="agentidp", {metadata}'


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_returns_403_without_its_scope_and_counts_the_request(
    shared_client: FlaskClient, services: Services, route: Route
) -> None:
    agent = make_agent(services, make_organization(services), scopes=set(SCOPES) - {route.authentication})
    response = shared_client.open(
        route.path(agent.agent_id), method=route.method, json=route.body, headers=agent.bearer()
    )
    message = f"The access token lacks the scope {route.authentication}"
    assert response.status_code == 403
    assert response.json == {"code": "FORBIDDEN", "message": message, "details": {}}
    assert response.headers["WWW-Authenticate"] == (
        f'Bearer realm="agentidp", error="insufficient_scope", '
        f'error_description="{message}", scope="{route.authentication}"'
    )
    assert counted(agent.sums()) == (0, 1, 0)


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_counts_the_request_once_when_it_succeeds(shared_client: FlaskClient, acme: Agent, route: Route) -> None:
    client = shared_client
    ids = make_one_of_each(client, acme)
    path = route.path(**ids)
    if route.endpoint == "openid-providers.create_openid_provider":
        # An organization has at most one.
        assert client.delete(f"{path}/{ids['openid_provider_id']}", headers=acme.bearer()).status_code == 204
    _, before, _ = counted(acme.sums())
    response = client.open(path, method=route.method, json=route.body_for(acme.agent_id), headers=acme.bearer())
    assert response.status_code in (200, 201, 202, 204)
    assert counted(acme.sums()) == (0, before + 1, 0)


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_refuses_a_suspended_agent_and_counts_one_rejection(
    shared_client: FlaskClient, acme: Agent, route: Route
) -> None:
    client = shared_client
    other = acme.colleague("the one that suspends")
    token = acme.bearer()
    before = client.get(f"/api/v1/agents/{acme.agent_id}", headers=token)
    suspended = client.patch(f"/api/v1/agents/{acme.agent_id}", json={"status": "suspended"}, headers=other.bearer())
    assert (before.status_code, suspended.status_code) == (200, 200)
    _, requests, _ = counted(acme.sums())
    events = events_of(acme.database_url, acme.organization_id)
    response = client.open(route.path(other.agent_id), method=route.method, json=route.body, headers=token)
    assert response.status_code == 401
    assert response.json == SUSPENDED_AGENT
    assert counted(acme.sums()) == (0, requests, 1)
    unchanged = client.get(f"/api/v1/agents/{other.agent_id}", headers=other.bearer())
    assert (unchanged.status_code, unchanged.json["description"]) == (200, "")
    # Nothing that is recorded was changed, for example by a transaction that does not admit the caller.
    assert events_of(acme.database_url, acme.organization_id) == events


@pytest.mark.parametrize("route", PROTECTED, ids=str)
def test_refuses_a_parameter_that_it_does_not_have_and_one_that_is_repeated(
    shared_client: FlaskClient, acme: Agent, route: Route
) -> None:
    described = route.described(shared_client.get("/api/v1/openapi.json").json)
    names = [item["name"] for item in described.get("parameters", []) if item.get("in") == "query"]
    accepted = f"these query parameters: {', '.join(names)}" if names else "no query parameters"
    message = f"This operation accepts {accepted}."
    wrong = [("nothing=1", message, {"nothing": ["is no parameter of this operation"]})]
    for name in names:
        wrong.append((f"{name}=1&{name}=1", "The request is not valid.", {name: ["must be given once only"]}))
        wrong.append((f"{name}=1&{name.upper()}=1", message, {name.upper(): ["is no parameter of this operation"]}))
    for number, (query, message, details) in enumerate(wrong, 1):
        path = f"{route.path(acme.agent_id)}?{query}"
        response = shared_client.open(path, method=route.method, json=route.body, headers=acme.bearer())
        assert (response.status_code, response.json) == (
            400,
            {"code": "VALIDATION_ERROR", "message": message, "details": details},
        ), query
        assert counted(acme.sums()) == (0, number, 0)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/analytics/tokens/x", "/api/v1/agents/not-a-uuid"])
def test_counts_a_request_to_an_address_that_is_not_there(
    shared_client: FlaskClient, acme: Agent, method: str, path: str
) -> None:
    response = shared_client.open(path, method=method, headers=acme.bearer())
    assert response.status_code == 404
    assert counted(acme.sums()) == (0, 1, 0)
