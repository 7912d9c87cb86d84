"""The MCP Python SDK's client-credentials providers, unmodified, against an MCP server that takes our tokens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt
import pytest
import uvicorn
from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from tests.factories import PATIENCE, free_port, wait_until
from tests.federation.issuer import SUBJECT, Issuer
from tests.helpers.mcp_client import Tokens
from tests.oauth.conftest import KEYS, Provider

pytestmark = pytest.mark.slow

SCOPE = "tools:call"


class JwksVerifier:
    """Verifies our tokens by the published keys and by nothing else (RFC 9068 section 4)."""

    def __init__(self, issuer: str, resource: str) -> None:
        self.issuer, self.resource = issuer, resource
        self.keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            key = (await asyncio.to_thread(self.keys.get_signing_key_from_jwt, token)).key
            claims = jwt.decode(token, key, algorithms=["ES256"], issuer=self.issuer, audience=self.resource)
        except jwt.PyJWTError:
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=claims["aud"],
            subject=claims["sub"],
            claims=claims,
        )


@dataclass
class McpServer:
    """A running MCP server and the provider that it trusts."""

    url: str
    provider: Provider


@pytest.fixture(scope="module")
def mcp_server(provider: Provider) -> Iterator[McpServer]:
    """An MCP server on the loopback, registered as a resource server."""
    with run_mcp_server(provider.url) as resource:
        provider.call("POST", "/api/v1/resource-servers", resource=resource, name="tools", scopes=[SCOPE])
        yield McpServer(resource, provider)


@contextmanager
def run_mcp_server(issuer: str) -> Iterator[str]:
    """Run an MCP server that takes the tokens of an issuer, on the loopback. Its address is its resource identifier."""
    port = free_port()
    resource = f"http://127.0.0.1:{port}/mcp"
    server = MCPServer(
        "tools",
        token_verifier=JwksVerifier(issuer, resource),
        auth=AuthSettings(
            issuer_url=issuer, resource_server_url=resource, required_scopes=[SCOPE], validate_token_resource=True
        ),
    )

    @server.tool()
    def whoami() -> str:
        """Return the id of the calling agent."""
        caller = get_access_token()
        assert caller is not None
        return caller.client_id

    config = uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="warning")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        wait_until(lambda: running.started)
        yield resource
    finally:
        running.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def call_whoami(server: McpServer, auth: OAuthClientProvider) -> str:
    """Return the response of the tool to a client that authenticates with *auth*."""

    async def call() -> str:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=PATIENCE) as http,
            Client(streamable_http_client(server.url, http_client=http)) as client,
        ):
            result = await client.call_tool("whoami", {})
            return result.content[0].text

    return asyncio.run(call())


def by_secret(server: McpServer, who: dict[str, str], **changes: Any) -> ClientCredentialsOAuthProvider:
    return ClientCredentialsOAuthProvider(
        **({"server_url": server.url, "storage": Tokens(), "issuer": server.provider.url} | who | changes)
    )


def by_assertion(server: McpServer, who: dict[str, str], make: Any) -> PrivateKeyJWTOAuthProvider:
    return PrivateKeyJWTOAuthProvider(server.url, Tokens(), who["client_id"], make, issuer=server.provider.url)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_client_calls_a_tool_with_its_secret(mcp_server: McpServer, method: str) -> None:
    who = mcp_server.provider.register(scopes=[SCOPE, "agents:read"])
    auth = by_secret(mcp_server, who, token_endpoint_auth_method=method)
    assert call_whoami(mcp_server, auth) == who["client_id"]
    claims = jwt.decode(auth.context.storage.tokens.access_token, options={"verify_signature": False})
    assert (claims["aud"], claims["scope"]) == (mcp_server.url, SCOPE)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_a_client_calls_a_tool_with_its_key(mcp_server: McpServer, alg: str) -> None:
    who, key = mcp_server.provider.register(scopes=[SCOPE]), KEYS[alg]()
    mcp_server.provider.register_key(who["client_id"], jwk=key.as_dict(private=False, alg=alg))
    signed = SignedJWTParameters(
        issuer=who["client_id"],
        subject=who["client_id"],
        signing_key=key.as_pem(private=True).decode(),
        signing_algorithm=alg,
    )
    assert (
        call_whoami(mcp_server, by_assertion(mcp_server, who, signed.create_assertion_provider())) == who["client_id"]
    )


def test_a_client_calls_a_tool_with_the_token_of_its_platform(mcp_server: McpServer) -> None:
    """The assertion is the token that the platform writes into a file of the workload."""
    who, issuer = mcp_server.provider.register(scopes=[SCOPE]), Issuer.with_curve()
    # This client does not send its client_id.
    audience = f"{mcp_server.provider.url}/{mcp_server.provider.operator.organization_id}"
    rule = {"type": "federated", "issuer": issuer.url, "subject": SUBJECT, "audience": audience, "jwks": issuer.jwks()}
    mcp_server.provider.register_key(who["client_id"], **rule)

    async def read_token(_audience: str) -> str:
        return issuer.token(audience, int(time.time()))

    assert call_whoami(mcp_server, by_assertion(mcp_server, who, read_token)) == who["client_id"]


def refusals(error: BaseException) -> list[BaseException]:
    """Return all errors of a group and of its inner groups."""
    if isinstance(error, BaseExceptionGroup):
        return [refusal for inner in error.exceptions for refusal in refusals(inner)]
    return [error]


@pytest.mark.parametrize(
    ("scopes", "changes", "answer"),
    [
        ([SCOPE], {"client_secret": "wrong"}, 'Token exchange failed (401): {"error":"invalid_client"'),
        (["agents:read"], {}, 'Token exchange failed (400): {"error":"invalid_scope"'),
    ],
    ids=["wrong secret", "agent without the scope"],
)
def test_a_client_learns_why_it_gets_no_token(
    mcp_server: McpServer, scopes: list[str], changes: dict[str, str], answer: str
) -> None:
    who = mcp_server.provider.register(scopes=scopes)
    with pytest.raises(BaseExceptionGroup) as refused:
        call_whoami(mcp_server, by_secret(mcp_server, who, **changes))
    [error] = refusals(refused.value)
    assert isinstance(error, OAuthTokenError)
    assert answer in str(error).replace('": "', '":"')
