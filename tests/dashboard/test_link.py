"""Sign-in links, which ``agentidp dashboard`` and ``agentidp serve --demo`` print."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http.cookiejar import CookieJar
from typing import Any

import jwt
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.dashboard.session import LIFETIME as SESSION_LIFETIME
from agentidp.demo import OPERATOR, ORGANIZATION_ID
from tests.citus import someone_waits
from tests.cli.command import SUSPENDED, Command
from tests.conftest import ON_CITUS_TOO
from tests.dashboard.conftest import ENDED, Page, Wire, cookie, counted, led_to, post, refused, revoke, with_cookie
from tests.dashboard.test_session import NOT_FOR_US
from tests.factories import NOON, PATIENCE, ROOT, SECRET_KEY, Agent, Api, Clock, Server, execute, usage_sums, wait_until

LINK = r"http://localhost:\d+/dashboard/sign-in\?token=([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)"


@pytest.fixture
def shared_run(quiet: None, shared_app: Flask) -> Command:
    """Return a runner of commands on the database that the tests of this module share."""
    return Command(shared_app.extensions["agentidp"].settings.database_url)


def test_the_command_prints_a_link_for_five_minutes_that_counts_as_nothing(shared_run: Command) -> None:
    agent_id = shared_run.agent()
    link = re.fullmatch(LINK, shared_run("dashboard", "--agent", agent_id))
    assert link
    claims = jwt.decode(link[1], options={"verify_signature": False})
    assert (claims["client_id"], claims["scope"]) == (agent_id, "analytics:read")
    assert claims["aud"] == "http://localhost:3000/dashboard/sign-in"
    assert claims["exp"] - claims["iat"] == 5 * 60
    counted = usage_sums(shared_run.database_url, claims["organization_id"])
    assert {*counted.values()} == {0}
    assert execute(shared_run.database_url, "select from credentials") == []


def test_the_command_refuses_with_a_sentence_and_counts_nothing(shared_run: Command) -> None:
    nobody = str(uuid.uuid4())
    assert shared_run.refused("dashboard", "--agent", nobody) == f"there is no agent {nobody}"
    message = "the database has no demo organization with the agent fleet-console, so give --agent ID"
    assert shared_run.refused("dashboard") == message
    agent_id = shared_run.agent("agents:read")
    sentence = "the agent does not have every scope that was asked for"
    assert shared_run.refused("dashboard", "--agent", agent_id) == sentence
    agent_id = shared_run.agent()
    execute(shared_run.database_url, "update agents set status = 'suspended' where agent_id = %s", agent_id)
    assert shared_run.refused("dashboard", "--agent", agent_id) == SUSPENDED.format(agent_id)
    assert execute(shared_run.database_url, "select from agent_usage_daily where agent_id = %s", agent_id) == []


NOT_GOOD = (
    "This link is no longer valid: a link can be used once, within 5 minutes. "
    "Run agentidp dashboard --agent ID on the server to get a new one; for the demo, agentidp dashboard."
)


def used(agent: Agent) -> list[datetime]:
    """Return the expiry of each identifier that the agent's organization has consumed."""
    query = "select expires_at from used_identifiers where organization_id = %s"
    rows = execute(agent.database_url, query, agent.organization_id)
    return [expires_at for (expires_at,) in rows]


@ON_CITUS_TOO
class TestALinkWorksOnce:
    """A link works once, whatever server gets it."""

    def test_the_second_time_it_opens_nothing_and_the_session_of_the_first_goes_on(
        self, client: FlaskClient, acme: Agent
    ) -> None:
        link = acme.link()
        assert client.get(link).status_code == 303
        other = client.application.test_client()
        refused(other.get(link), 401, NOT_GOOD)
        assert len(used(acme)) == 1
        assert client.get("/dashboard").status_code == 200
        assert other.get("/dashboard").status_code == 401

    def test_of_many_that_follow_it_at_once_exactly_one_is_signed_in(self, client: FlaskClient, acme: Agent) -> None:
        link, gate = acme.link(), threading.Barrier(8)

        def follow(_: int) -> int:
            browser = client.application.test_client()
            gate.wait(PATIENCE)
            return browser.get(link).status_code

        with ThreadPoolExecutor(8) as pool:
            assert Counter(pool.map(follow, range(8))) == {303: 1, 401: 7}
        assert len(used(acme)) == 1

    def test_it_opens_nothing_if_the_tokens_of_its_agent_end_meanwhile(self, client: FlaskClient, acme: Agent) -> None:
        link = acme.link()
        with psycopg.connect(acme.database_url) as ending, ThreadPoolExecutor(1) as pool:
            not_before = NOON + timedelta(seconds=1)
            ending.execute("update agents set tokens_not_before = %s where agent_id = %s", [not_before, acme.agent_id])
            following = pool.submit(client.get, link)
            wait_until(lambda: someone_waits(acme.database_url))
            ending.commit()
            refused(following.result(PATIENCE), 401, NOT_GOOD)
        assert used(acme) == []

    def test_it_stays_used_for_every_server_for_as_long_as_one_would_take_it(
        self, client: FlaskClient, acme: Agent, wire: Wire, clock: Clock
    ) -> None:
        link = acme.link()
        assert client.get(link).status_code == 303
        # At this time, a server whose clock is behind still accepts the link.
        clock.advance(seconds=309)
        refused(wire().get(link), 401, NOT_GOOD)
        assert used(acme) == [NOON + timedelta(seconds=320)]


class TestTheSession:
    """A link opens a new session."""

    @pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}])
    def test_has_its_own_identifier_and_twelve_hours_from_now(
        self, client: FlaskClient, acme: Agent, clock: Clock, headers: dict[str, str]
    ) -> None:
        link = acme.link()
        clock.advance(seconds=100)
        response = client.get(link, headers=headers)
        assert led_to(response) == "/dashboard"
        assert (cookie(response)["samesite"], cookie(response)["httponly"]) == ("Strict", True)
        assert response.headers["Referrer-Policy"] == "no-referrer"
        link_claims, claims = [
            jwt.decode(token, options={"verify_signature": False})
            for token in (link.partition("=")[2], cookie(response).value)
        ]
        now = int(clock().timestamp())
        assert claims == link_claims | {
            "aud": "http://localhost:3000/dashboard",
            "iat": now,
            "exp": now + SESSION_LIFETIME,
            "jti": claims["jti"],
        }
        assert claims["jti"] != link_claims["jti"]
        assert cookie(response)["max-age"] == str(SESSION_LIFETIME)
        assert counted(acme) == (0, 0, 0)
        clock.advance(hours=11, minutes=59)
        assert client.get("/dashboard").status_code == 200

    def test_ends_by_signing_out_and_the_link_does_not_open_another(self, client: FlaskClient, acme: Agent) -> None:
        link = acme.link()
        token = cookie(client.get(link)).value
        assert post(client, "/dashboard/sign-out").status_code == 303
        refused(with_cookie(client, token).get("/dashboard"), 401, ENDED)
        refused(client.get(link), 401, NOT_GOOD)


class TestWhatIsRefused:
    """A refused request does not consume the link."""

    def test_a_link_is_refused_forever_when_it_has_expired(
        self, client: FlaskClient, acme: Agent, clock: Clock
    ) -> None:
        in_time, late = acme.link(), acme.link()
        clock.advance(seconds=309)
        assert client.get(in_time).status_code == 303
        clock.advance(seconds=1)
        refused(client.get(late), 401, NOT_GOOD)

    def test_a_link_is_refused_once_a_credential_of_its_agent_or_its_token_has_been_revoked(
        self, client: FlaskClient, acme: Agent, clock: Clock
    ) -> None:
        api, link, credentials = Api(client, acme), acme.link(), f"agents/{acme.agent_id}/credentials"
        clock.advance(seconds=10)
        assert api.delete(f"{credentials}/{api.post(credentials).json['credentialId']}").status_code == 204
        clock.advance(seconds=10)
        refused(client.get(link), 401, NOT_GOOD)
        link, other = acme.link(), acme.link()
        revoke(client, acme, link.partition("=")[2])
        refused(client.get(link), 401, NOT_GOOD)
        assert client.get(other).status_code == 303

    @pytest.mark.parametrize(
        ("change", "undone"),
        [
            ({"status": "suspended"}, {"status": "active"}),
            ({"scopes": ["agents:read"]}, {"scopes": ["analytics:read"]}),
        ],
        ids=["suspended", "without the scope"],
    )
    def test_an_agent_that_may_not_look_does_not_consume_its_link(
        self, client: FlaskClient, acme: Agent, change: Any, undone: Any
    ) -> None:
        agent = acme.colleague("the one that may not")
        link, path = agent.link(), f"agents/{agent.agent_id}"
        for body, status in ((change, 401), (undone, 303)):
            assert Api(client, acme).patch(path, body).status_code == 200
            assert client.get(link).status_code == status
        assert len(used(agent)) == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "same-origin"},
            {"Referer": "https://elsewhere.example/"},
            {"Origin": "https://elsewhere.example"},
        ],
        ids=str,
    )
    def test_a_page_that_leads_to_it_and_a_head_request_do_not_consume_it(
        self, client: FlaskClient, acme: Agent, headers: dict[str, str]
    ) -> None:
        link = acme.link()
        response = client.get(link, headers=headers)
        assert response.status_code == 403
        assert "paste it there and press Enter" in Page(response).text
        assert link.partition("=")[2] not in response.text
        head_response = client.head(link)
        assert head_response.status_code == 200
        for answer in (response, head_response):
            assert "Set-Cookie" not in answer.headers
            assert answer.headers["Referrer-Policy"] == "strict-origin"
        assert client.get(link).status_code == 303

    @pytest.mark.parametrize(
        "changed",
        [
            {"audience": "http://localhost:3000/dashboard"},
            {"audience": "http://localhost:3000/api/v1"},
            {"scope": "agents:read"},
            {"jkt": "a" * 43},
            "",
            "\u202e\U0001f600",
            "x" * 5000,
        ],
        ids=lambda changed: str(changed)[:50],
    )
    def test_another_token_is_no_link(self, client: FlaskClient, acme: Agent, changed: str | dict[str, str]) -> None:
        link = f"/dashboard/sign-in?token={changed}" if isinstance(changed, str) else acme.link(**changed)
        refused(client.get(link), 401, NOT_GOOD)
        assert used(acme) == []

    def test_a_link_is_neither_a_session_nor_a_token_for_the_api_nor_one_to_paste(
        self, client: FlaskClient, acme: Agent
    ) -> None:
        token = acme.link().partition("=")[2]
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/v1/analytics/tokens", headers=bearer).status_code == 401
        form = {"client_id": acme.client_id, "client_secret": acme.client_secret, "token": token}
        assert client.post("/api/v1/token/introspect", data=form).json == {"active": False}
        response = post(client, "/dashboard/sign-in", token=token)
        refused(response, 401, NOT_FOR_US.format("http://localhost:3000/dashboard/sign-in"))
        refused(with_cookie(client, token).get("/dashboard"), 401, ENDED)


def test_the_page_after_signing_out_says_how_to_get_a_link(signed_in: FlaskClient) -> None:
    response = signed_in.get(led_to(post(signed_in, "/dashboard/sign-out")))
    assert "a link that signs in once, within 5 minutes: <code>agentidp dashboard --agent ID</code>" in response.text
    assert Page(response).notice == "You are signed out. A link that signed you in cannot be used again."


@contextlib.contextmanager
def greeted(server: Server) -> Iterator[tuple[str, Callable[[], str]]]:
    """Run *server* with a terminal as its standard output. Yield the greeting and a function that returns the log."""
    ours, theirs = pty.openpty()
    with (
        tempfile.TemporaryFile("w+") as log,
        os.fdopen(ours, encoding="utf-8", newline="\n") as terminal,
        subprocess.Popen(
            server.command, env=server.environment, cwd=ROOT, stdout=theirs, stderr=log, start_new_session=True
        ) as process,
    ):
        os.close(theirs)

        def logged() -> str:
            log.seek(0)
            return log.read()

        try:
            yield read_greeting(terminal, logged), logged
        finally:
            process.send_signal(signal.SIGTERM)


def read_greeting(standard_output: Any, logged: Any) -> str:
    """Return the text that a server with the demo prints."""
    text = ""
    while "Ctrl-C stops AgentIdP" not in text:
        line = standard_output.readline()
        assert line, logged()
        text += line.replace("\r\n", "\n")
    return text


@pytest.mark.very_slow
def test_serving_the_demo_on_a_terminal_greets_with_a_link_that_shows_it_once(database_url: str) -> None:
    settings = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    server = Server(settings, "--demo")
    with greeted(server) as (greeting, logged):
        [token] = re.findall(rf"^{LINK}$", greeting, re.MULTILINE)
        link = f"{server.url}/dashboard/sign-in?token={token}"
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with browser.open(link, timeout=PATIENCE) as page:
            assert page.url == f"{server.url}/dashboard"
            assert "Demo organization" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(link, timeout=PATIENCE)
        assert token not in logged()
    execute(database_url, "update agents set status = 'suspended' where name = %s", OPERATOR.name)
    server = Server(settings, "--demo")
    with greeted(server) as (greeting, _):
        assert f"Its dashboard is at {server.url}/dashboard\n" in greeting


@pytest.mark.very_slow
def test_serving_the_demo_into_a_log_issues_and_prints_no_link(database_url: str) -> None:
    settings = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY}
    with Server(settings, "--demo") as server:
        sums = usage_sums(database_url, ORGANIZATION_ID)
        greeting = read_greeting(server.process.stdout, server.logs)
        assert f"Its dashboard is at {server.url}/dashboard\n" in greeting
        assert f"\n\nPORT={server.port} agentidp dashboard\n\n" in greeting
        assert f"export TOKEN=$(PORT={server.port} agentidp token)\n" in greeting
        assert "token=" not in greeting
        assert "eyJ" not in greeting + server.logs()
        assert usage_sums(database_url, ORGANIZATION_ID) == sums
