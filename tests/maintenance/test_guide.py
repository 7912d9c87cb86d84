"""The operator's commands in the guides, taken out of the pages and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from agentidp import create_app
from tests.conftest import DEBIANS, Installation, name_of_installation, settings_for
from tests.factories import PATIENCE, clean_environment
from tests.helpers.guide import DOCUMENTED, commands_of, make_database


def shell(script: str, directory: Path, **environment: str) -> str:
    """Run a script until a command fails, and return its output."""
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
