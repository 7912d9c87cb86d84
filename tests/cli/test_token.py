"""``agentidp token``."""

from __future__ import annotations

import re
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient

from agentidp import demo
from agentidp.registry.credentials import MAX_CREDENTIALS
from tests.cli.command import Command
from tests.factories import execute, usage_sums


def claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def left(run: Command) -> tuple[int, int]:
    """Return the number of credentials and the number of rows of usage."""
    [[credentials, days]] = execute(
        run.database_url, "select (select count(*) from credentials), (select count(*) from usage_daily)"
    )
    return credentials, days


@pytest.mark.usefixtures("midnight_is_far")
def test_prints_a_bearer_token_and_nothing_else_counts_it_once_and_leaves_no_credential(
    run: Command, acme: str, agent: str, service: FlaskClient
) -> None:
    token = run("token", "--agent", "builder")
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", token)
    assert (claims(token)["client_id"], claims(token)["scope"]) == (agent, "analytics:read agents:read")
    assert {n for name, n in usage_sums(run.database_url, acme).items() if "rejected" not in name} == {1}
    assert left(run) == (0, 1)
    headers = {"Authorization": f"Bearer {token}"}
    trend = service.get("/api/v1/analytics/tokens?days=1", headers=headers).json["data"]
    assert [day["count"] for day in trend] == [1]
    own = "http://localhost:3000/api/v1"
    other = claims(run("token", "--agent", agent, "--scope", "agents:read", "--resource", own))
    assert (other["scope"], other["aud"]) == ("agents:read", own)


def test_what_is_refused_counts_nothing_and_leaves_nothing(run: Command, agent: str) -> None:
    token = ("token", "--agent", agent)
    for options, sentence in (
        (("--scope", "agents:write"), "the agent does not have every scope that was asked for"),
        (("--scope", "\udcff"), "scope has characters or blanks that it must not have"),
        (("--resource", "api"), "the resource must be an absolute URI without fragment"),
    ):
        assert run.refused(*token, *options) == sentence
    message = "the database has no demo organization with the agent fleet-console, so give --agent ID"
    assert run.refused("token") == message
    assert left(run) == (0, 0)
    execute(
        run.database_url,
        "insert into credentials (organization_id, agent_id, credential_id, secret_hash, created_at) "
        "select organization_id, agent_id, gen_random_uuid(), sha256('x'), now() from agents, generate_series(1, %s)",
        MAX_CREDENTIALS,
    )
    # The agent's maximum number of credentials does not limit the operator.
    assert run(*token).count(".") == 2
    run("agent", "delete", "--yes", agent)
    assert run.refused(*token) == "there is no such agent"


@pytest.mark.slow
def test_of_the_demo(run: Command) -> None:
    assert run("demo") == f"Created the demo organization {demo.ORGANIZATION_ID}."
    reason = f"the demo organization {demo.ORGANIZATION_ID} exists already"
    assert run("demo") == f"Nothing was created, because {reason}."
    token_claims = claims(run("token"))
    agents = run.json("agent", "list", "--organization", demo.ORGANIZATION_ID)
    [operator] = [agent["agentId"] for agent in agents if agent["name"] == demo.OPERATOR.name]
    assert (token_claims["client_id"], token_claims["organization_id"]) == (operator, demo.ORGANIZATION_ID)
