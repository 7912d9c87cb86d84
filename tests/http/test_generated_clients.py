"""Clients that common generators make from the OpenAPI document can call the API without changes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.factories import PATIENCE, Agent, Server
from tests.oauth.conftest import install, run

SOURCE = Path(__file__).parent / "generated_clients"


@pytest.fixture(scope="module")
def call_input(running: tuple[Server, Agent], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The input of both client programs. The agent has two tokens."""
    server, agent = running
    tokens = [
        requests.post(f"{server.url}/api/v1/token", data=agent.form, timeout=PATIENCE).json()["access_token"]
        for _ in range(2)
    ]
    document = tmp_path_factory.mktemp("document") / "openapi.json"
    document.write_bytes(server.get("/api/v1/openapi.json"))
    month = datetime.now(UTC).strftime("%Y-%m")
    return {"url": server.url, "token": tokens[-1], "month": month, "document": str(document)}


def check_output(output: dict[str, Any]) -> None:
    days = datetime.now(UTC).day
    assert output == {
        "trend": [0, 0, 2],
        "month": [*[0] * (days - 1), 2],
        "agents": [["builder", 2]],
        "error": {"code": "VALIDATION_ERROR", "details": {"month": ["must not be given with days"]}},
    }


@pytest.mark.program
def test_openapi_python_client_generates_a_working_client(call_input: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path, dirs_exist_ok=True)
    programs = tmp_path / "venv" / "bin"
    run([sys.executable, "-m", "venv", "--without-pip", "venv"], tmp_path, timeout=PATIENCE)
    # requirements.txt lists what its packages require, too, and to look this up takes longer than to install them.
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-compile", "--no-deps"]
    run([*pip, "--requirement", "requirements.txt"], tmp_path, timeout=10 * PATIENCE)
    options = ["--path", call_input["document"], "--output-path", "client", "--meta", "none", "--fail-on-warning"]
    # The generator formats its output with the ruff of the path.
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    generate = [str(programs / "openapi-python-client"), "generate", *options]
    run(generate, tmp_path, timeout=10 * PATIENCE, env=environment)
    check_output(json.loads(run([str(programs / "python"), "client.py"], tmp_path, input=json.dumps(call_input))))


@pytest.mark.node
def test_openapi_typescript_generates_the_types_of_a_working_client(call_input: dict[str, str], tmp_path: Path) -> None:
    install(SOURCE, tmp_path)
    run(["npx", "openapi-typescript", call_input["document"], "--output", "api.d.ts"], tmp_path, timeout=PATIENCE)
    compiler = ["npx", "tsc", "--strict", "--module", "nodenext", "--target", "es2022", "client.ts", "api.d.ts"]
    run(compiler, tmp_path, timeout=PATIENCE)
    check_output(json.loads(run(["node", "client.js", json.dumps(call_input)], tmp_path, timeout=PATIENCE)))
