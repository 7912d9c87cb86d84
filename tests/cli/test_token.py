"""``agentidp token``."""

from __future__ import annotations

import re
import uuid

import jwt
import psycopg
import pytest

from agentidp import create_app, demo
from agentidp.config import Settings
from agentidp.registry.credentials import MAX_CREDENTIALS
from tests.cli.command import SUSPENDED, Command
from tests.factories import usage_sums


@pytest.mark.usefixtures("midnight_is_far")
def test_prints_a_bearer_token_and_nothing_else_counts_it_once_and_leaves_no_credential(run: Command) -> None:
    agent_id = run.agent()
    token = run("token", "--agent", agent_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["client_id"], claims["scope"]) == (agent_id, "analytics:read agents:read")
    counted = usage_sums(run.database_url, claims["organization_id"])
    assert {n for name, n in counted.items() if "rejected" not in name} == {1}
    with psycopg.connect(run.database_url) as connection:
        assert connection.execute("select count(*) from credentials").fetchone() == (0,)
    app = create_app(Settings.from_environment(run.environment))
    try:
        response = app.test_client().get(
            "/api/v1/analytics/tokens?days=1", headers={"Authorization": f"Bearer {token}"}
        )
        assert [day["count"] for day in response.json["data"]] == [1]
    finally:
        app.extensions["agentidp"].close()


def test_with_fewer_scopes(run: Command) -> None:
    token = run("token", "--agent", run.agent(), "--scope", "agents:read")
    assert jwt.decode(token, options={"verify_signature": False})["scope"] == "agents:read"


def test_for_our_own_api_by_its_identifier(run: Command) -> None:
    resource = "http://localhost:3000/api/v1"
    token = run("token", "--agent", run.agent(), "--resource", resource)
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == resource


def test_what_is_refused_counts_nothing_and_leaves_nothing(run: Command) -> None:
    agent_id = run.agent()
    nobody = str(uuid.uuid4())
    assert run.refused("token", "--agent", nobody) == f"there is no agent {nobody}"
    assert run.refused("token") == "there is no demo organization here, so name an agent: --agent ID"
    for scope, sentence in {
        "agents:write": "the agent does not have every scope that was asked for",
        "\udcff": "scope has characters or blanks that it must not have",
        "a  b": "scope has characters or blanks that it must not have",
    }.items():
        assert run.refused("token", "--agent", agent_id, "--scope", scope) == sentence
    for resource in ("api", "https://x.example/#part", "\udcff"):
        sentence = run.refused("token", "--agent", agent_id, "--resource", resource)
        assert sentence == "the resource must be an absolute URI without fragment"
    with psycopg.connect(run.database_url, autocommit=True) as connection:
        assert connection.execute("select count(*) from credentials").fetchone() == (0,)
        assert connection.execute("select count(*) from usage_daily").fetchone() == (0,)
        connection.execute("update agents set status = 'suspended'")
        assert run.refused("token", "--agent", agent_id) == SUSPENDED.format(agent_id)
        connection.execute("update agents set deleted_at = now()")
        assert run.refused("token", "--agent", agent_id) == "there is no such agent"
        assert connection.execute("select count(*) from credentials").fetchone() == (0,)


def test_of_an_agent_that_has_as_many_credentials_as_it_may(run: Command) -> None:
    agent_id = run.agent()
    with psycopg.connect(run.database_url) as connection:
        connection.execute(
            "insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at) "
            "select organization_id, agent_id, gen_random_uuid(), sha256('x'), now() "
            "from agents, generate_series(1, %s)",
            [MAX_CREDENTIALS],
        )
    assert run("token", "--agent", agent_id).count(".") == 2


@pytest.mark.slow
def test_of_the_demo(run: Command) -> None:
    assert run("demo") == f"Made the demo organization {demo.ORGANIZATION_ID}."
    assert run("demo") == f"There already is the demo organization {demo.ORGANIZATION_ID}."
    claims = jwt.decode(run("token"), options={"verify_signature": False})
    assert (claims["client_id"], claims["organization_id"]) == (str(demo.OPERATOR_ID), demo.ORGANIZATION_ID)
