"""``agentidp dashboard`` and the greeting of ``agentidp serve --demo``: a link that signs in."""

from __future__ import annotations

import re
import urllib.request
import uuid
from http.cookiejar import CookieJar

import jwt
import psycopg
import pytest
from flask import Flask

from agentidp.demo import OPERATOR_ID

from ..factories import SECRET_KEY, Server, usage_sums
from ..test_cli import Command, quiet  # noqa: F401 - a fixture

LINK = r"http://localhost:\d+/dashboard/sign-in\?token=([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)"


@pytest.fixture
def shared_run(quiet: None, shared_app: Flask) -> Command:  # noqa: F811
    """Commands on a database that the tests of this module share."""
    return Command(shared_app.extensions["agentidp"].settings.database_url)


def test_the_command_prints_a_link_for_twelve_hours_that_counts_as_one_token(shared_run: Command) -> None:
    agent_id = shared_run.agent()
    link = re.fullmatch(LINK, shared_run("dashboard", "--agent", agent_id))
    assert link
    claims = jwt.decode(link[1], options={"verify_signature": False})
    assert (claims["client_id"], claims["scope"]) == (agent_id, "analytics:read")
    assert claims["aud"] == "http://localhost:3000/dashboard"
    assert claims["exp"] - claims["iat"] == 12 * 60 * 60
    counted = usage_sums(shared_run.database_url, claims["organization_id"])
    assert {n for name, n in counted.items() if "rejected" not in name} == {1}
    with psycopg.connect(shared_run.database_url) as connection:
        assert connection.execute("select count(*) from credentials").fetchone() == (0,)


def test_the_command_refuses_with_a_sentence_and_counts_nothing(shared_run: Command) -> None:
    nobody = str(uuid.uuid4())
    assert shared_run.refused("dashboard", "--agent", nobody) == f"there is no agent {nobody}"
    assert shared_run.refused("dashboard") == f"there is no agent {OPERATOR_ID}"
    agent_id = shared_run.agent("agents:read")
    sentence = "the agent does not have every scope that was asked for"
    assert shared_run.refused("dashboard", "--agent", agent_id) == sentence
    with psycopg.connect(shared_run.database_url, autocommit=True) as connection:
        agent_id = shared_run.agent()
        connection.execute("update agents set status = 'suspended' where agent_id = %s", [agent_id])
        assert shared_run.refused("dashboard", "--agent", agent_id) == f"the agent {agent_id} is suspended"
        counted = connection.execute("select count(*) from agent_usage_daily where agent_id = %s", [agent_id])
        assert counted.fetchone() == (0,)


def greeting(server: Server) -> str:
    """What a server with the demo prints."""
    assert server.process.stdout is not None
    text = ""
    while "Ctrl-C stops AgentIdP" not in text:
        line = server.process.stdout.readline()
        assert line, server.logs()
        text += line
    return text


def test_serving_the_demo_greets_with_a_link_that_shows_it(database_url: str) -> None:
    settings = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    with Server(settings, "--demo") as server:
        [link] = re.findall(rf"^{LINK}$", greeting(server), re.MULTILINE)
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with browser.open(f"{server.url}/dashboard/sign-in?token={link}", timeout=20) as page:
            assert page.url == f"{server.url}/dashboard"
            assert "Demo organization" in page.read().decode()
        assert link not in server.logs()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update agents set status = 'suspended' where agent_id = %s", [OPERATOR_ID])
    with Server(settings, "--demo") as server:
        assert f"\n\n{server.url}/dashboard\n\n" in greeting(server)
