"""Run AgentIdP under gunicorn for the client libraries of others."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc.jwk import ECKey, OKPKey, RSAKey

from agentidp.oauth.issuance import ISSUED_TOKEN_TYPE
from agentidp.services import Services
from tests.conftest import _fresh_database, settings_for
from tests.factories import PATIENCE, SECRET_KEY, Agent, Clock, ServerWithoutLauncher, make_agent, make_organization

KEYS: dict[str, Callable[[], Any]] = {
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "RS256": lambda: RSAKey.generate_key(2048),
    "PS256": lambda: RSAKey.generate_key(2048),
    # EdDSA and Ed25519 name the same algorithm (RFC 9864).
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
}
"""Functions that return a new private key, by algorithm."""

_numbers = itertools.count(1)


def play(directory: Path, program: str, given: Any) -> Any:
    """Return the JSON that a Node program writes for a JSON input."""
    text = run(["node", program], directory, input=json.dumps(given), timeout=PATIENCE)
    return json.loads(text)


def install(source: Path, directory: Path) -> Path:
    """Copy a program, install its packages, and return its directory. Without Node the tests fail."""
    shutil.copytree(source, directory, dirs_exist_ok=True)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    run(npm, directory, timeout=10 * PATIENCE)
    return directory


def run(command: list[str], directory: Path, **options: Any) -> str:
    """Return the output of a command that must succeed."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@dataclass
class Provider:
    """A running provider and its operator, who uses the registry over HTTP."""

    url: str
    operator: Agent

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Return the registry's response to a request of the operator that must succeed."""
        response = requests.request(
            method, self.url + path, json=body or None, headers=self.operator.bearer(), timeout=PATIENCE
        )
        assert response.ok, response.text
        return response.json() if response.content else None

    def register(self, scopes: Sequence[str] = ("agents:read",), **agent: Any) -> dict[str, str]:
        """Return the ``client_id`` and ``client_secret`` of a new agent."""
        name = f"agent {next(_numbers)}"
        client_id = self.call("POST", "/api/v1/agents", name=name, scopes=list(scopes), **agent)["agentId"]
        made = self.call("POST", f"/api/v1/agents/{client_id}/credentials")
        return {"client_id": client_id, "client_secret": made["clientSecret"]}

    def register_key(self, client_id: str, **keys: Any) -> None:
        """Let an agent authenticate with a key.

        :param keys: ``jwk`` or ``jwks``.
        """
        made = self.call("POST", f"/api/v1/agents/{client_id}/credentials", **keys)
        assert "clientSecret" not in made


@dataclass
class Acting:
    """Two agents, and the form by which the first agent acts for the second."""

    subject: dict[str, str]
    actor: dict[str, str]
    form: dict[str, str]
    scope: str


def acting(provider: Provider) -> Acting:
    """An agent has a token for another agent, which may exchange the token."""
    number = next(_numbers)
    scope, api, tools = f"read:{number}", f"https://api{number}.example", f"https://tools{number}.example"
    provider.call("POST", "/api/v1/resource-servers", resource=api, name="api", scopes=[scope])
    subject, actor = provider.register([scope]), provider.register([scope])
    tool = {"resource": tools, "name": "tools", "agentId": actor["client_id"]}
    provider.call("POST", "/api/v1/resource-servers", **tool)
    form = {"grant_type": "client_credentials", "resource": tools}
    response = requests.post(f"{provider.url}/api/v1/token", data=form | subject, timeout=PATIENCE)
    token = response.json()["access_token"]
    return Acting(
        subject, actor, {"subject_token": token, "subject_token_type": ISSUED_TOKEN_TYPE, "resource": api}, scope
    )


@pytest.fixture(scope="module")
def provider(postgres_url: str, template: str) -> Iterator[Provider]:
    """A server (gunicorn) on a database that the tests of a module share."""
    with (
        contextlib.contextmanager(_fresh_database)(postgres_url, template) as url,
        ServerWithoutLauncher({"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY}) as server,
        contextlib.closing(Services.of(settings_for(url, issuer=server.url), Clock(None))) as services,
    ):
        yield Provider(server.url, make_agent(services, make_organization(services), name="operator"))
