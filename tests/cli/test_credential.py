"""``agentidp credential``."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta

import psycopg

from agentidp import create_app
from agentidp.config import Settings
from agentidp.registry.credentials import MAX_LABEL
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
        assert run("credential", "revoke", "--yes", credential_id, "--agent", agent_id) == ""
        assert app.test_client().post("/api/v1/token", data=form).status_code == 401
    finally:
        app.extensions["agentidp"].close()
    assert run.refused("credential", "revoke", "--yes", credential_id, "--agent", agent_id) == (
        f"the agent has no credential {credential_id}"
    )


def test_as_json_and_with_an_expiry(run: Command) -> None:
    agent_id = run.agent()
    made = json.loads(run("credential", "create", "--agent", agent_id, "--expires-in", "30", "--json"))
    assert set(made) == {
        "credentialId",
        "clientId",
        "clientSecret",
        "type",
        "label",
        "jwks",
        "createdAt",
        "expiresAt",
        "lastUsedAt",
    }
    left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_of_an_agent_that_is_not_there(shared_run: Command) -> None:
    agent_id = str(uuid.uuid4())
    for arguments in (("create",), ("list",), ("revoke", str(uuid.uuid4()))):
        assert shared_run.refused("credential", *arguments, "--agent", agent_id) == f"there is no agent {agent_id}"


def test_list_shows_labels_and_kinds_and_never_a_secret(run: Command) -> None:
    agent_id = run.agent()
    assert run("credential", "list", "--agent", agent_id) == ""
    made = json.loads(run("credential", "create", "--agent", agent_id, "--label", "CI of the shop", "--json"))
    assert made["label"] == "CI of the shop"
    run("credential", "create", "--agent", agent_id, "--expires-in", "30")
    with psycopg.connect(run.database_url) as connection:
        connection.execute(
            "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
            """select organization_id, agent_id, gen_random_uuid(), '[{"kty": "EC"}]', now() from agents"""
        )
    listed = json.loads(run("credential", "list", "--agent", agent_id, "--json"))
    assert listed[0] == {name: value for name, value in made.items() if name not in ("clientId", "clientSecret")}
    assert [one["label"] for one in listed] == ["CI of the shop", None, None]
    lines = [line.split("\t") for line in run("credential", "list", "--agent", agent_id).splitlines()]
    assert [line[0] for line in lines] == [one["credentialId"] for one in listed]
    assert [line[1:3] for line in lines] == [["CI of the shop", "secret"], ["-", "secret"], ["-", "key"]]
    assert [line[4] == "-" for line in lines] == [True, False, True]
    run("credential", "revoke", "--yes", lines[1][0], "--agent", agent_id)
    assert [one["credentialId"] for one in json.loads(run("credential", "list", "--agent", agent_id, "--json"))] == [
        lines[0][0],
        lines[2][0],
    ]


def test_a_label_that_is_no_good(run: Command) -> None:
    create = ("credential", "create", "--agent", run.agent(), "--label")
    assert run.refused(*create, "") == f"label must have 1 to {MAX_LABEL} characters"
    assert run.refused(*create, "x" * (MAX_LABEL + 1)) == f"label must have 1 to {MAX_LABEL} characters"
    assert run.refused(*create, "a\tb") == "label must not hold control characters or lone surrogates"
    assert run(*create, "x" * MAX_LABEL)
