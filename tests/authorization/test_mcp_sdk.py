"""The MCP Python SDK and Authlib, unmodified: from discovery to a tool call, and a refresh."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.oauth.client_document import agent_id_of
from agentidp.outbound.networks import LOOPBACK
from agentidp.registry.delegation_rules import NewDelegationRuleSchema, add_rule
from tests.authorization.conftest import made
from tests.conftest import _fresh_database, settings_for
from tests.dashboard.company import Company
from tests.dashboard.conftest import SAME_ORIGIN
from tests.factories import PATIENCE, Agent, database_of, free_port, make_agent, make_organization
from tests.federation.conftest import published
from tests.federation.https_issuer import HttpsIssuer
from tests.helpers.mcp_client import Tokens
from tests.helpers.serving import serving
from tests.oauth.test_mcp_client import SCOPE, McpServer, call_whoami, run_mcp_server

__all__ = ["published"]

pytestmark = pytest.mark.slow

REDIRECT_URI = "http://127.0.0.1:49152/callback"


@dataclass
class Running:
    """A running server with a public client, and the person who uses it."""

    url: str
    company: Company
    agent: Agent
    mcp: McpServer

    def consent(self, address: str) -> dict[str, str]:
        """Give consent like a person in a browser, and return the parameters of the redirect to the client."""
        redirect_uri, _, query = self.answer(address).partition("?")
        assert redirect_uri == REDIRECT_URI
        return dict(parse_qsl(query))

    def answer(self, address: str) -> str:
        """Give consent like a person in a browser, and return the address to which the browser is redirected."""
        browser = requests.Session()
        begun = browser.get(address, allow_redirects=False, timeout=PATIENCE)
        assert begun.status_code == 302, begun.text
        page = browser.get(self.url + self.company.authorize(begun.headers["Location"]), timeout=PATIENCE)
        [consent] = re.findall(r'name="consent" value="([^"]+)"', page.text)
        form = {"consent": html.unescape(consent), "answer": "allow"}
        answered = browser.post(
            f"{self.url}/authorize", data=form, headers=SAME_ORIGIN, allow_redirects=False, timeout=PATIENCE
        )
        return answered.headers["Location"]

    def publish(self, publisher: HttpsIssuer) -> str:
        """Publish the document of an app whose host a rule admits; its address."""
        address = f"{publisher.url}/client.json"
        document = {"client_id": address, "client_name": "tools", "redirect_uris": [REDIRECT_URI]}
        publisher.json("/client.json", document)
        services = self.agent.services
        rule = {
            "name": f"apps of {publisher.port}",
            "trust": {"issuer": self.company.issuer, "claims": {"roles": "staff"}},
            "clientHosts": [f"localhost:{publisher.port}"],
            "resources": [{"resource": self.mcp.url, "scopes": [SCOPE]}],
        }
        with database_of(services, self.agent.organization_id).transaction() as opened:
            add_rule(opened, services.settings, NewDelegationRuleSchema().load(rule))
        return address


@pytest.fixture(scope="module")
def running(postgres_url: str, template: str, running_provider: Company) -> Iterator[Running]:
    """The server, an MCP server that takes its tokens, and a rule by which Anna may use it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with contextmanager(_fresh_database)(postgres_url, template) as database_url:
        settings = settings_for(database_url, issuer=url, oidc=running_provider.settings(), issuer_networks=LOOPBACK)
        app = create_app(settings, clock=utc_now)
        services = app.extensions["agentidp"]
        admin = make_agent(services, make_organization(services))
        client = app.test_client()
        running_provider.reset()
        now = int(time.time())
        running_provider.claims |= {"organization": admin.organization_id, "iat": now, "exp": now + 3600}
        with serving(app, port), run_mcp_server(url) as mcp_url:
            made(client, admin, "resource-servers", {"resource": mcp_url, "name": "tools", "scopes": [SCOPE]})
            agent = admin.colleague("editor", [SCOPE])
            changed = client.patch(
                f"/api/v1/agents/{agent.client_id}",
                json={"redirectUris": [REDIRECT_URI]},
                headers=admin.bearer(),
            )
            assert changed.status_code == 200
            made(client, admin, f"agents/{agent.client_id}/credentials", {"type": "public"})
            rule = {
                "name": "staff",
                "trust": {"issuer": running_provider.issuer, "claims": {"roles": "staff"}},
                "agentIds": [agent.client_id],
                "resources": [{"resource": mcp_url, "scopes": [SCOPE]}],
            }
            made(client, admin, "delegation-rules", rule)
            yield Running(url, running_provider, agent, McpServer(mcp_url, None))
        services.close()


class RegisteredClient(Tokens):
    """The SDK's storage, with the client as it is registered."""

    def __init__(self, client_id: str) -> None:
        super().__init__()
        self.client_info = OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[REDIRECT_URI], token_endpoint_auth_method="none"
        )

    async def get_client_info(self) -> Any:
        return self.client_info


def test_the_mcp_sdk_calls_a_tool_for_a_person_and_refreshes(running: Running) -> None:
    addresses: list[str] = []

    async def open_browser(address: str) -> None:
        addresses.append(address)

    async def wait_for_browser() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**await asyncio.to_thread(running.consent, addresses[-1]))

    storage = RegisteredClient(running.agent.client_id)
    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT_URI], token_endpoint_auth_method="none")

    auth = OAuthClientProvider(running.mcp.url, metadata, storage, open_browser, wait_for_browser)
    assert call_whoami(running.mcp, auth) == running.agent.client_id
    first = storage.tokens
    # A token that has expired, by the SDK's clock, is refreshed without the person.
    auth.context.token_expiry_time = 1
    assert call_whoami(running.mcp, auth) == running.agent.client_id
    assert storage.tokens.refresh_token != first.refresh_token
    assert len(addresses) == 1


class UnregisteredClient(Tokens):
    """The SDK's storage, which stores the client that the SDK derives from the address of its document."""

    def __init__(self) -> None:
        super().__init__()
        self.client_info: Any = None

    async def get_client_info(self) -> Any:
        return self.client_info

    async def set_client_info(self, client_info: Any) -> None:
        self.client_info = client_info


def test_the_mcp_sdk_needs_no_registration_with_a_client_id_metadata_document(
    running: Running, published: HttpsIssuer
) -> None:
    address, organization_id = running.publish(published), running.agent.organization_id
    addresses: list[str] = []

    async def open_browser(address: str) -> None:
        addresses.append(address)

    async def wait_for_browser() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**await asyncio.to_thread(running.consent, addresses[-1]))

    storage = UnregisteredClient()
    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT_URI], token_endpoint_auth_method="none")
    auth = OAuthClientProvider(
        running.mcp.url, metadata, storage, open_browser, wait_for_browser, client_metadata_url=address
    )
    agent_id = str(agent_id_of(organization_id, address))
    assert call_whoami(running.mcp, auth) == agent_id
    auth.context.token_expiry_time = 1
    assert call_whoami(running.mcp, auth) == agent_id
    assert (len(addresses), published.requests) == (1, ["/client.json"])
    assert storage.client_info.client_id == address


def test_authlib_redeems_a_code_and_refreshes(running: Running) -> None:
    metadata = httpx2.get(f"{running.url}/.well-known/oauth-authorization-server").json()
    with OAuth2Session(
        running.agent.client_id,
        redirect_uri=REDIRECT_URI,
        code_challenge_method="S256",
        token_endpoint_auth_method="none",
    ) as session:
        verifier = "v" * 64
        address, state = session.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier, resource=running.mcp.url
        )
        returned = running.consent(address)
        assert (returned["state"], returned["iss"]) == (state, metadata["issuer"])
        token = session.fetch_token(metadata["token_endpoint"], code=returned["code"], code_verifier=verifier)
        refreshed = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
        assert refreshed["refresh_token"] != token["refresh_token"]
        assert refreshed["scope"] == SCOPE
