"""The operator's commands in the guides, taken out of the pages and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest

from agentidp import create_app
from tests.conftest import DEBIANS, Installation, name_of_installation, settings_for, with_database
from tests.factories import PATIENCE, ROOT, clean_environment, execute


def commands_of(document: str, heading: str) -> list[str]:
    """The blocks of commands below a heading, up to the next one."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", section, re.M | re.S)]


DOCUMENTED = "postgresql://agentidp:$OWNER_PASSWORD@localhost/agentidp"
"""The database of the guide's commands."""


def make_database(server_url: str, name: str) -> str:
    """Make the database of the first step of *Install on Debian* and its owner, by the statements there but for the
    names, which the server of the tests has already; the database's URL as its owner.
    """
    [statements] = re.findall(r"<<END\n(.*?)END\n", commands_of("deployment.md", "## Install on Debian")[0], re.S)
    for statement in statements.replace("$OWNER_PASSWORD", "of-the-owner").strip().split(";\n"):
        execute(server_url, re.sub(r"\b(role|database|owner) agentidp\b", rf"\1 {name}", statement.removesuffix(";")))
    return f"postgresql://{name}:of-the-owner@{with_database(server_url, name).rpartition('@')[2]}"


def shell(script: str, directory: Path, **environment: str) -> str:
    """What a script prints. It ends at the first command that fails."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=directory,
        env=clean_environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.program
@pytest.mark.parametrize("other_server", DEBIANS or [Installation.MISSING], ids=name_of_installation, indirect=True)
def test_from_a_trial_to_production(quiet: None, directory: Path, other_server: str) -> None:
    trial = {"AGENTIDP_DATA_DIR": str(directory / "data")}
    made = shell(
        "agentidp organization create Acme > organization; "
        'agentidp agent create builder --organization "$(cat organization)" > agent; cat organization; '
        'agentidp credential create --agent "$(cat agent)" | cut -f 3; '
        'agentidp token --agent "$(cat agent)" > token',
        directory,
        **trial,
    )
    organization_id, secret = made.split()
    agent_id = (directory / "agent").read_text().strip()

    url = make_database(other_server, "production")
    first, second, third = commands_of("deployment.md", "## From a trial to production")
    shell(first, directory, **trial)
    assert DOCUMENTED in second
    printed = shell(second.replace(DOCUMENTED, url) + third, directory, HOME=str(directory))
    assert "Restored 1 organization, 1 agent and 1 token, from the backup of" in printed
    assert f"{organization_id}\t4\t0\t4\t" in printed
    assert not re.search(r"^failed", printed, re.M)
    assert "ok\tsigning keys" in printed

    key = (directory / "trial_secret_key").read_text().strip()
    app = create_app(settings_for(url, secret_key=key.encode()))
    try:
        form = {"grant_type": "client_credentials", "client_id": agent_id, "client_secret": secret}
        assert app.test_client().post("/api/v1/token", data=form).status_code == 200
    finally:
        app.extensions["agentidp"].close()
    with psycopg.connect(url) as owner:
        owner.execute("select set_config('agentidp.organization_id', %s, false)", [organization_id])
        assert owner.execute("select sum(tokens) from usage_daily").fetchone() == (2,)
