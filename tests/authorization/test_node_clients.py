"""The MCP TypeScript SDK, oauth4webapi, openid-client and MCP's conformance tests, unmodified."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from agentidp.oauth.client_document import agent_id_of
from tests.authorization.test_mcp_sdk import REDIRECT_URI, Running, published, running
from tests.factories import PATIENCE, free_port
from tests.federation.https_issuer import HttpsIssuer
from tests.oauth.conftest import install
from tests.oauth.test_mcp_client import SCOPE

__all__ = ["published", "running"]

pytestmark = pytest.mark.node

Run = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the installed packages."""
    return install(Path(__file__).parent / "clients", tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def run(running: Running, directory: Path) -> Run:
    """Return a function that lets a library of client.mjs get tokens, and returns its result."""

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


def test_passes_the_conformance_tests_of_mcp(running: Running, directory: Path) -> None:
    """Their request lacks ``resource``, which MCP clients must send, so it is added to the address for the person."""
    program = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    command = ["node", "--import", "./glob_sync.mjs", program, "authorization", "--url", running.url]
    command += ["--client-id", running.agent.client_id, "--port", str(free_port()), "--output-dir", "results"]
    with subprocess.Popen(command, cwd=directory, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith(f"{running.url}/authorize?"))
        redirect = running.answer(f"{address}&{urlencode({'resource': running.mcp.url})}")
        assert requests.get(redirect, timeout=PATIENCE).status_code == 200
        output, _ = process.communicate(timeout=PATIENCE)
    checks = [check for file in directory.glob("results/**/checks.json") for check in json.loads(file.read_text())]
    assert {check["id"]: check["status"] for check in checks} == {
        "authorization-server-metadata": "SUCCESS",
        "authorization-server-metadata-cimd": "SUCCESS",
        "authorization-code-grant": "SUCCESS",
    }, output
