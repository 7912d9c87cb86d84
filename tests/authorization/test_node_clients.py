"""The MCP TypeScript SDK, oauth4webapi and openid-client, unmodified: a person allows something, and they refresh."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from agentidp.oauth.client_document import agent_id_of
from tests.authorization.test_mcp_sdk import REDIRECT_URI, Running, published, running
from tests.factories import PATIENCE
from tests.federation.https_issuer import HttpsIssuer
from tests.oauth.conftest import install
from tests.oauth.test_mcp_client import SCOPE

__all__ = ["published", "running"]

pytestmark = pytest.mark.node

Run = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def run(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that lets a library of client.mjs get tokens, and returns its result."""
    directory = install(Path(__file__).parent / "clients", tmp_path_factory.mktemp("clients"))

    def run_library(library: str, client_id: str) -> Any:
        options = {"url": running.url, "client_id": client_id, "redirect_uri": REDIRECT_URI}
        command = ["node", "client.mjs", library, json.dumps(options | {"resource": running.mcp.url})]
        with subprocess.Popen(
            command, cwd=directory, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            parameters = running.consent(process.stdout.readline().strip())
            output, _ = process.communicate(f"{REDIRECT_URI}?{urlencode(parameters)}\n", timeout=PATIENCE)
        assert process.returncode == 0
        return json.loads(output)

    return run_library


def test_the_mcp_sdk_calls_a_tool_for_a_person_and_refreshes(running: Running, run: Run) -> None:
    client_id = running.agent.client_id
    assert run("mcp", client_id) == {"callers": [client_id, client_id], "is_rotated": True}


def test_the_mcp_sdk_needs_no_registration_with_a_client_id_metadata_document(
    running: Running, run: Run, published: HttpsIssuer
) -> None:
    address = running.publish(published)
    agent_id = str(agent_id_of(running.agent.organization_id, address))
    assert run("mcp", address) == {"callers": [agent_id, agent_id], "is_rotated": True}


@pytest.mark.parametrize("library", ["oauth4webapi", "openid-client"])
def test_a_library_redeems_a_code_and_refreshes(running: Running, run: Run, library: str) -> None:
    assert run(library, running.agent.client_id) == {"scopes": [SCOPE, SCOPE], "is_rotated": True}
