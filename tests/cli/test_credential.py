"""``agentidp credential``."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta

from agentidp import create_app
from agentidp.config import Settings
from tests.cli.command import UUID, Command


def test_create_prints_the_secret_with_which_a_token_is_got(run: Command) -> None:
    agent_id = run.agent()
    credential_id, client_id, client_secret = run("credential", "create", "--agent", agent_id).split("\t")
    assert re.fullmatch(UUID, credential_id)
    assert client_id == agent_id
    app = create_app(Settings.from_environment(run.environment))
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    try:
        assert app.test_client().post("/api/v1/token", data=form).status_code == 200
        assert run("credential", "revoke", credential_id, "--agent", agent_id) == ""
        assert app.test_client().post("/api/v1/token", data=form).status_code == 401
    finally:
        app.extensions["agentidp"].close()
    assert run.refused("credential", "revoke", credential_id, "--agent", agent_id) == (
        f"the agent has no credential {credential_id}"
    )


def test_as_json_and_with_an_expiry(run: Command) -> None:
    agent_id = run.agent()
    made = json.loads(run("credential", "create", "--agent", agent_id, "--expires-in", "30", "--json"))
    assert set(made) == {
        "credentialId",
        "clientId",
        "clientSecret",
        "jwks",
        "createdAt",
        "expiresAt",
        "lastUsedAt",
    }
    left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_of_an_agent_that_is_not_there(shared_run: Command) -> None:
    agent_id = str(uuid.uuid4())
    for arguments in (("create",), ("revoke", str(uuid.uuid4()))):
        assert shared_run.refused("credential", *arguments, "--agent", agent_id) == f"there is no agent {agent_id}"
