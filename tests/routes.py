"""The routes of the application, each with an example: what the tests of all routes walk through."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask

from agentidp import create_app
from agentidp.config import Settings
from agentidp.http.openapi import declarations_of, to_camel_case

NOWHERE = "00000000-0000-4000-8000-000000000000"
"""An id that no object has."""

REVOKED_TOKEN = {"code": "UNAUTHORIZED", "message": "The access token was revoked. Request a new one.", "details": {}}
SUSPENDED_AGENT = {
    "code": "UNAUTHORIZED",
    "message": "The agent of the access token is suspended. Ask an administrator of its organization.",
    "details": {},
}
INVALID_TOKEN = {"code": "UNAUTHORIZED", "message": "The access token is invalid, expired or revoked", "details": {}}
"""The body of the 401 that every protected route returns if the token is invalid."""

BODIES: dict[str, dict[str, Any]] = {
    "agents.create_agent": {"name": "made by a test"},
    "agents.change_agent": {"description": "changed by a test"},
    "alert-targets.create_alert_target": {
        "name": "made by a test",
        "type": "webhook",
        "url": "https://hooks.example/made-by-a-test",
    },
    "alert-targets.change_alert_target": {"name": "changed by a test"},
    "credentials.create_credential": {"expiresAt": None},
    "delegation-rules.create_delegation_rule": {
        "name": "made by a test",
        "trust": {"issuer": "https://issuer.example"},
        "agentIds": [NOWHERE],
        "resources": [{"resource": f"https://{NOWHERE}.example", "scopes": [NOWHERE]}],
    },
    "finding-actions.acknowledge_finding": {"note": "made by a test"},
    "finding-actions.mute_finding": {"until": "2026-04-20T00:00:00Z", "wholeOrganization": False, "note": None},
    "finding-actions.unmute_finding": {"note": "made by a test"},
    "markers.create_marker": {
        "kind": "deployment",
        "startsAt": "2026-04-15T10:00:00Z",
        "endsAt": "2026-04-15T11:00:00Z",
        "agentId": None,
        "note": "made by a test",
    },
    "mcp.mcp": {"jsonrpc": "2.0", "id": 1, "method": "ping"},
    "organization.change_organization": {"monthlyTokenBudget": 250_000},
    "provisioning-rules.create_provisioning_rule": {
        "name": "made by a test",
        "trust": {"issuer": "https://issuer.example", "claims": {"namespace": "shop"}},
    },
    "openid-providers.change_openid_provider": {"clientId": "changed-by-a-test"},
    "openid-providers.create_openid_provider": {"issuer": "https://made.example", "clientId": "made-by-a-test"},
    "quotas.put_quota": {"tokens": 1_000_000, "enforce": True},
    "quotas.put_agent_quota": {"tokens": 1_000_000, "enforce": True},
    "resource-servers.change_resource_server": {"name": "changed by a test", "agentId": None},
    "resource-servers.create_resource_server": {
        "resource": "https://made.example/by-a-test",
        "name": "made by a test",
        "agentId": None,
    },
}
"""A valid body per endpoint. The tests of all routes fail if a route that takes JSON is missing here."""

ID = re.compile(r"<uuid:(\w+)>")
"""Matches an id in a route. The group is the name of the id."""

WITHOUT_BODY = {"alert-targets.test_alert_target"}
"""Endpoints that change something but take no body."""


@dataclass(frozen=True)
class Route:
    """A method and its route.

    :param authentication: the required scope, ``session``, ``client`` (the client itself authenticates) or ``public``;
        ``None`` if the view declares nothing.
    :param scopes: for a page, the scopes of which the session needs at least one.
    """

    endpoint: str
    method: str
    rule: str
    authentication: str | None
    scopes: tuple[str, ...] = ()

    @property
    def takes_json(self) -> bool:
        if self.endpoint in WITHOUT_BODY:
            return False
        return self.method in ("POST", "PUT", "PATCH") and self.authentication not in ("public", "client")

    @property
    def body(self) -> dict[str, Any] | None:
        """A valid body, or ``None`` if the route takes none. A resource server has a new identifier at each access."""
        if not self.takes_json:
            return None
        body = BODIES.get(self.endpoint)
        assert body is not None, f"add a body that {self} accepts to BODIES"
        return body | {"resource": f"{body['resource']}/{uuid.uuid4()}"} if "resource" in body else body

    def body_for(self, agent_id: UUID | str) -> dict[str, Any] | None:
        """Return the body with this agent, and its resource server (:data:`tests.factories.IDS`), if it names them."""
        body: dict[str, Any] | None = json.loads(json.dumps(self.body).replace(NOWHERE, str(agent_id)))
        return body

    @property
    def ids(self) -> set[str]:
        return set(ID.findall(self.rule))

    @property
    def address(self) -> str:
        """The path of the route in the OpenAPI document."""
        return re.sub(r"<[^>]*?(\w+)>", lambda name: f"{{{to_camel_case(name[1])}}}", self.rule)

    def described(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the operation of the OpenAPI document that describes the route."""
        operation: dict[str, Any] = document["paths"][self.address][self.method.lower()]
        return operation

    def path(self, agent_id: UUID | str = NOWHERE, **ids: object) -> str:
        """Return the path with *ids* in place of their names. An omitted id is :data:`NOWHERE`."""
        ids_by_name = {"agent_id": agent_id, **ids}
        path = ID.sub(lambda name: str(ids_by_name.get(name[1], NOWHERE)), self.rule)
        path = (
            path.replace("<window>", "day")
            .replace("<any(hour, day, month):window>", "day")
            .replace("<asset>", "start.js")
            .replace("<on_day>", "2026-04-14")
            .replace("<organization_id>", "org-11111111-1111-1111-1111-111111111111")
        )
        path = re.sub(r"<any\((\w+)[^>]*>", r"\1", path)
        assert "<" not in path, f"say here how {self.rule} is filled in"
        return path

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


def routes_of(app: Flask) -> list[Route]:
    """Return the routes of *app*, without the methods OPTIONS and HEAD, which Flask adds."""
    return [
        Route(rule.endpoint, method, rule.rule, declarations.authentication, declarations.session_scopes)
        for rule in app.url_map.iter_rules()
        for declarations in [declarations_of(app.view_functions[rule.endpoint])]
        for method in sorted(rule.methods or ())
        if method not in ("OPTIONS", "HEAD")
    ]


ALL = routes_of(
    # The application connects to the database with the first request, so this URL is not used.
    create_app(Settings(database_url="postgresql:///none", data_dir=Path("/nonexistent"), secret_key=b"x" * 32))
)
PAGES = [route for route in ALL if route.rule.startswith(("/dashboard", "/authorize"))]
"""The pages for people, which tests/dashboard and tests/authorization test."""

ROUTES = [route for route in ALL if route not in PAGES]
"""The routes of the API."""

PROTECTED = [route for route in ROUTES if route.authentication not in ("public", "client")]
JSON_ROUTES = [route for route in PROTECTED if route.takes_json and route.endpoint != "mcp.mcp"]
"""Protected routes with a JSON body that a schema describes. tests/mcp tests the messages of the MCP endpoint."""
CLIENT_PATHS = [route.rule for route in ROUTES if route.authentication == "client"]
"""The routes at which a client authenticates. The first route issues tokens."""
