"""A person, a browser, an MCP client and the resource server that it wants to use."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.outbound.networks import LOOPBACK
from agentidp.registry.organizations import update_organization
from tests.audit.conftest import events_of, verified
from tests.conftest import Cast, _fresh_database, settings_for
from tests.dashboard.company import Company
from tests.dashboard.conftest import SAME_ORIGIN, Page, provider, running_provider
from tests.factories import NOON, Agent, Clock, execute
from tests.oauth.clients import ask
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url", "provider", "running_provider"]

ISSUER = "http://localhost:3000"
LOOPBACK_URI, WEB_URI = "http://127.0.0.1/callback", "https://editor.example/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def shared_app(postgres_url: str, template: str, running_provider: Company) -> Iterator[Flask]:
    """The application with the settings of the provider, which runs on the loopback."""
    with contextmanager(_fresh_database)(postgres_url, template) as url:
        settings = settings_for(url, oidc=running_provider.settings(), issuer_networks=LOOPBACK)
        app = create_app(settings, clock=Clock())
        yield app
        app.extensions["agentidp"].close()


@dataclass
class Editor:
    """A public client of an organization, which a person with a browser uses.

    :param agent: the client.
    :param admin: an agent with every scope of the same organization.
    """

    client: FlaskClient
    provider: Company
    admin: Agent
    agent: Agent
    resource: str
    rule_id: str
    redirect_uri: str = WEB_URI

    def query(self, **changes: str | None) -> str:
        """Return the query of the authorization request. ``None`` removes a parameter."""
        parameters = {
            "response_type": "code",
            "client_id": self.agent.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": self.resource,
            "state": "the state",
        }
        return urlencode({name: value for name, value in (parameters | changes).items() if value is not None})

    def authorize(
        self, query: str | None = None, client: FlaskClient | None = None, **changes: str | None
    ) -> TestResponse:
        """Open the authorization request in a browser and sign in. Return the page or redirect after the sign-in."""
        client = client or self.client
        begun = client.get(f"/authorize?{query or self.query(**changes)}")
        assert begun.status_code == 302, begun.text
        return client.get(self.provider.authorize(begun.headers["Location"]))

    def answer(self, page: TestResponse, answer: str = "allow", client: FlaskClient | None = None) -> TestResponse:
        """Press a button of the consent page."""
        assert page.status_code == 200, page.text
        form = {"consent": Page(page).typed["consent"], "answer": answer}
        return (client or self.client).post("/authorize", data=form, headers=SAME_ORIGIN)

    def code(self, **changes: str | None) -> str:
        """Return the code that the client gets if the person signs in and allows the client."""
        return str(returned(self.answer(self.authorize(**changes)))["code"])

    def redeem(
        self, text: str, *, proof: str = "", auth: tuple[str, str] | None = None, **changes: str | None
    ) -> TestResponse:
        """Redeem a code at the token endpoint."""
        form = {"grant_type": "authorization_code", "code": text, "code_verifier": VERIFIER}
        return self.send(form | {"redirect_uri": self.redirect_uri} | changes, proof, auth)

    def refresh(
        self, token: str, *, proof: str = "", auth: tuple[str, str] | None = None, **changes: str | None
    ) -> TestResponse:
        """Redeem a refresh token at the token endpoint."""
        return self.send({"grant_type": "refresh_token", "refresh_token": token} | changes, proof, auth)

    def send(self, form: dict[str, Any], proof: str = "", auth: tuple[str, str] | None = None) -> TestResponse:
        """Send a form to the token endpoint."""
        form = {"client_id": self.agent.client_id} | form
        form = {name: value for name, value in form.items() if value is not None}
        more = {"auth": auth} if auth else {}
        return ask(self.client, form, {"DPoP": proof} if proof else {}, **more)

    def make(self, path: str, body: dict[str, Any], agent: Agent | None = None) -> Any:
        """Create an object by the API, and return the JSON of the response."""
        return made(self.client, agent or self.admin, path, body)

    def stored_grants(self) -> int:
        """Return the number of stored grants of the organization."""
        query = "select count(*) from grants where organization_id = %s"
        [[count]] = execute(self.admin.database_url, query, self.admin.organization_id)
        return int(count)

    def suspend_organization(self) -> None:
        """Suspend the organization, as the operator does."""
        url, organization_id = self.admin.database_url, self.admin.organization_id
        with connect(url) as connection, operator_transaction(connection, organization_id, NOON) as transaction:
            update_organization(transaction, {"suspended_at": NOON})

    def events(self) -> list[tuple[str, str, Any]]:
        """Return the audit events about grants: action, actor and members."""
        url, organization_id = self.admin.database_url, self.admin.organization_id
        assert verified(url, organization_id).broken_at is None
        return [
            (event["action"], event["actor"], event["after"] or event["before"])
            for event in events_of(url, organization_id)
            if event["subjectType"] == "grant"
        ]


def made(client: FlaskClient, agent: Agent, path: str, body: dict[str, Any]) -> Any:
    """Create an object by the API, and return the JSON of the response."""
    response = client.post(f"/api/v1/{path}", json=body, headers=agent.bearer())
    assert response.status_code == 201, response.text
    return response.json


def returned(response: TestResponse, redirect_uri: str = WEB_URI) -> dict[str, str]:
    """Return the parameters with which a browser is redirected to the client."""
    assert response.status_code == 303, response.text
    address, _, query = response.headers["Location"].partition("?")
    assert address == redirect_uri
    return dict(parse_qsl(query, strict_parsing=True))


def editor_of(client: FlaskClient, provider: Company, admin: Agent) -> Editor:
    """Return a public client of the organization of *admin*, to which Anna belongs."""
    scopes = ["tickets:read", "tickets:write", "tickets:delete"]
    resource = f"https://{uuid.uuid4()}.example/mcp"
    made(client, admin, "resource-servers", {"resource": resource, "name": "Tickets", "scopes": scopes})
    agent = admin.colleague("editor", scopes)
    path = f"/api/v1/agents/{agent.client_id}"
    uris = {"redirectUris": [LOOPBACK_URI, WEB_URI]}
    assert client.patch(path, json=uris, headers=admin.bearer()).status_code == 200
    made(client, admin, f"agents/{agent.client_id}/credentials", {"type": "public"})
    rule = {
        "name": "staff",
        "trust": {"issuer": provider.issuer, "claims": {"roles": "staff"}},
        "agentIds": [agent.client_id],
        "resources": [{"resource": resource, "scopes": ["tickets:read", "tickets:write"]}],
    }
    rule_id = made(client, admin, "delegation-rules", rule)["delegationRuleId"]
    provider.claims["organization"] = admin.organization_id
    return Editor(client, provider, admin, agent, resource, rule_id)


@pytest.fixture
def editor(client: FlaskClient, provider: Company, cast: Cast) -> Editor:
    """A public client of Acme."""
    return editor_of(client, provider, cast.acme)


def error_of(response: TestResponse) -> tuple[int, str]:
    """Return the status and the OAuth error of a response."""
    return response.status_code, response.json["error"]
