"""Unmodified clients get their own token, and each tool returns the same as the API."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from mcp import Client
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client

from agentidp import create_app
from tests.factories import PATIENCE, ROOT, make_one_of_each
from tests.helpers.mcp_client import Tokens
from tests.oauth import conftest
from tests.oauth.conftest import KEYS, Provider, run

pytestmark = pytest.mark.slow
provider = conftest.provider
SOURCE = Path(__file__).parent / "typescript"
PATH = "/api/v1/mcp"
SCOPES = ["analytics:read", "agents:read"]
ROUTES = {
    "token_trend": "/api/v1/analytics/tokens",
    "agents": "/api/v1/agents",
    "quotas": "/api/v1/quotas",
    "quotas_of_agents": "/api/v1/agents/quotas",
    "findings": "/api/v1/analytics/findings",
}
"""Tools whose results the test's own requests and tokens do not change."""


@pytest.fixture(scope="module")
def arguments(provider: Provider) -> dict[str, dict[str, str]]:
    """The arguments of each tool that needs arguments, in an organization with one object of each kind."""
    operator = provider.operator
    app = create_app(operator.services.settings)
    ids = make_one_of_each(app.test_client(), operator)
    app.extensions["agentidp"].close()
    agent = {"agentId": operator.client_id}
    return {
        "agent_activity": agent,
        "agent_rejections": agent,
        "agent_usage_by_hour": agent,
        "finding": {"findingId": ids["finding_id"]},
        "impact_of_revoking": agent | {"credentialId": ids["credential_id"]},
        "impact_of_suspending": agent,
        "impact_of_deleting": {"resourceServerId": ids["resource_server_id"]},
    }


def check(provider: Provider, answers: dict[str, Any], arguments: dict[str, dict[str, str]]) -> None:
    """Compare the results of the tools with the API."""
    assert answers.keys() >= {*arguments, *ROUTES}
    for name, answer in answers.items():
        assert isinstance(answer, dict), (name, answer)
    for name, path in ROUTES.items():
        response = requests.get(f"{provider.url}{path}", headers=provider.operator.bearer(), timeout=PATIENCE)
        assert answers[name] == response.json(), name


def with_key(provider: Provider) -> tuple[str, str]:
    """Return a new agent and its key as PEM."""
    client_id, key = provider.register(scopes=SCOPES)["client_id"], KEYS["ES256"]()
    provider.register_key(client_id, jwk=key.as_dict(private=False, alg="ES256"))
    return client_id, key.as_pem(private=True).decode()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("has_key", [False, True])
def test_python(provider: Provider, arguments: dict[str, dict[str, str]], mode: str, has_key: bool) -> None:
    url = provider.url + PATH
    if has_key:
        client_id, pem = with_key(provider)
        signed = SignedJWTParameters(
            issuer=client_id, subject=client_id, signing_key=pem, signing_algorithm="ES256"
        ).create_assertion_provider()
        auth: Any = PrivateKeyJWTOAuthProvider(url, Tokens(), client_id, signed, issuer=provider.url)
    else:
        who = provider.register(scopes=SCOPES)
        auth = ClientCredentialsOAuthProvider(server_url=url, storage=Tokens(), issuer=provider.url, **who)

    async def call() -> dict[str, Any]:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=PATIENCE) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            results = {}
            for tool in (await client.list_tools()).tools:
                # The client checks the result against the tool's output schema.
                result = await client.call_tool(tool.name, arguments.get(tool.name, {}))
                results[tool.name] = result.content if result.is_error else result.structured_content
            return results

    check(provider, asyncio.run(call()), arguments)


def test_the_client_of_the_documentation_runs_without_warnings(provider: Provider, tmp_path: Path) -> None:
    who = provider.register(scopes=SCOPES)
    auth, program = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "agentidp_auth.py").write_text(auth.replace("http://localhost:3000", provider.url), encoding="utf-8")
    (tmp_path / "client.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"AGENT": who["client_id"], "SECRET": who["client_secret"]}
    output = run([sys.executable, "-W", "error", "client.py"], tmp_path, env=environment, timeout=PATIENCE)
    assert "token_trend" in output.splitlines()
    assert "'days': 3" in output


@pytest.mark.node
@pytest.mark.parametrize("has_key", [False, True])
def test_typescript(provider: Provider, arguments: dict[str, dict[str, str]], has_key: bool, tmp_path: Path) -> None:
    if has_key:
        client_id, pem = with_key(provider)
        who = {"client_id": client_id, "key": pem}
    else:
        who = provider.register(scopes=SCOPES)
    settings = {"url": provider.url + PATH, "issuer": provider.url, "arguments": arguments, **who}
    check(provider, conftest.play(conftest.install(SOURCE, tmp_path), "client.mjs", settings), arguments)
