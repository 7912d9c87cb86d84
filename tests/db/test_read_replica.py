"""Reads from a real hot standby: which reads it serves, and what happens if it is unreachable or too far behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Response
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from agentidp import create_app
from agentidp.caller import STALENESS, Caller, bearer
from agentidp.counting import build_admission_call
from agentidp.db import read_replica
from agentidp.db.embedded_postgres import EmbeddedPostgres
from agentidp.registry.organizations import add_organization
from agentidp.services import Services
from tests.conftest import settings_for
from tests.dashboard.conftest import with_session
from tests.factories import PATIENCE, Agent, Clock, make_agent, make_finding, usage_sums, wait_until
from tests.frozen import frozen
from tests.helpers.deadlines import DEADLINE, STATEMENT_TIMEOUT
from tests.helpers.error_responses import assert_unavailable
from tests.machine import within
from tests.routes import PAGES, PROTECTED
from tests.standby import Pair, execute, replicated

pytestmark = pytest.mark.very_slow

TREND = "/api/v1/analytics/tokens?days=7"
BEHIND = "read replica is behind: the primary serves its reads"


@pytest.fixture(scope="module")
def shared_pair() -> Iterator[Pair]:
    """Run a primary and a standby for tests that leave both unchanged."""
    with replicated() as pair:
        yield pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Run a primary and a standby for one test, which may kill or promote them."""
    with replicated() as pair:
        yield pair


@contextmanager
def application(
    pair: Pair, max_staleness: float = read_replica.MAX_STALENESS, **settings: Any
) -> Iterator[tuple[FlaskClient, Agent]]:
    """Yield a client of the application on both servers, and an agent that both servers have."""
    values = {"statement_timeout": STATEMENT_TIMEOUT, "read_database_url": pair.standby.url} | settings
    url = str(values.pop("url", pair.primary.url))
    app = create_app(settings_for(url, **values), clock=Clock())
    services: Services = app.extensions["agentidp"]
    patch = pytest.MonkeyPatch()
    patch.setattr(read_replica, "MAX_STALENESS", max_staleness)
    try:
        organization_id = add_organization(pair.primary.url, name="Acme", at=services.clock())
        agent = make_agent(services, organization_id)
        pair.wait()
        yield app.test_client(), agent
    finally:
        patch.undo()
        services.close()


@contextmanager
def paused(pair: Pair) -> Iterator[None]:
    """Pause the standby's replay."""
    execute(pair.standby.url, "select pg_wal_replay_pause()")
    wait_until(lambda: execute(pair.standby.url, "select pg_get_wal_replay_pause_state()") == [("paused",)])
    try:
        yield
    finally:
        execute(pair.standby.url, "select pg_wal_replay_resume()")


@contextmanager
def cut_off(pair: Pair) -> Iterator[None]:
    """Separate the standby from the primary, so that it cannot know that it lacks changes."""
    pair.proxy.loses_answers = True
    pair.proxy.cut()
    wait_until(lambda: execute(pair.primary.url, "select 1 from pg_stat_replication where state = 'streaming'") == [])
    try:
        yield
    finally:
        pair.proxy.loses_answers = False
        pair.proxy.cut()


def tokens(client: FlaskClient, agent: Agent) -> tuple[int, bool]:
    """Return the organization's tokens of today from the trend, and whether the standby has served them.

    How stale they are is not compared: the primary writes to its log at any moment, and the standby lacks that for a
    while.
    """
    response = client.get(TREND, headers=agent.bearer())
    assert response.status_code == 200, response.text
    return response.json["data"][-1]["count"], STALENESS in response.headers  # type: ignore[index]


def issue(client: FlaskClient, agent: Agent) -> None:
    """Issue a token."""
    assert client.post("/api/v1/token", data=agent.form).status_code == 200


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages in the log, without the lines of requests."""
    messages = [record.getMessage() for record in caplog.records if record.name == "agentidp"]
    return [message for message in messages if message != "request"]


def reads(result: str) -> float:
    """Return how many reads of this process had a result."""
    return REGISTRY.get_sample_value("agentidp_read_replica_reads_total", {"result": result}) or 0.0


def log_of(postgres: EmbeddedPostgres) -> str:
    """Return a server's log."""
    return (postgres.home / "server.log").read_text()


class TestServes:
    """The standby serves reads."""

    def test_figures_are_those_of_the_standby(self, shared_pair: Pair) -> None:
        with application(shared_pair, max_staleness=3600) as (client, agent):
            assert tokens(client, agent) == (0, True)
            with paused(shared_pair):
                issue(client, agent)
                response = client.get(TREND, headers=agent.bearer())
                assert response.json["data"][-1]["count"] == 0  # type: ignore[index]
                assert 0 < float(response.headers[STALENESS]) <= 3600
                assert 0 < (REGISTRY.get_sample_value("agentidp_read_replica_staleness_seconds") or 0) <= 3600
            shared_pair.wait()
            assert tokens(client, agent) == (1, True)
            # Each request is counted once, on the primary.
            assert usage_sums(shared_pair.primary.url, agent.organization_id)["requests"] == 4

    def test_every_reading_route_asks_the_standby_and_no_other_does(self, shared_pair: Pair) -> None:
        with application(shared_pair) as (client, agent):
            wait_until(lambda: client.get(TREND, headers=agent.bearer()).headers.get(STALENESS) == "0.0")
            for route in (route for route in PROTECTED if route.method == "GET"):
                before = reads("served")
                response = client.get(route.path(agent_id=agent.agent_id), headers=agent.bearer())
                assert response.status_code in (200, 404), str(route)
                assert reads("served") > before, str(route)
                assert STALENESS in response.headers, str(route)
            response = client.post("/api/v1/agents", json={"name": "new"}, headers=agent.bearer())
            assert response.status_code == 201
            assert STALENESS not in response.headers
            assert STALENESS not in client.get("/api/v1/agents").headers

    def test_the_pages_of_the_dashboard_ask_the_standby(self, shared_pair: Pair) -> None:
        with application(shared_pair) as (client, agent):
            with_session(client, agent)
            # The first page computes and stores findings, so it reads from the primary.
            assert client.get("/dashboard").status_code == 200
            shared_pair.wait()
            for page in ("/dashboard", f"/dashboard/agents/{agent.agent_id}", "/dashboard/audit"):
                response = client.get(page)
                assert (response.status_code, STALENESS in response.headers) == (200, True), page


class TestNeverSent:
    """The standby gets only reading statements, of callers that the primary has admitted."""

    def test_no_statement_that_writes_reaches_the_standby(self, shared_pair: Pair) -> None:
        begin = len(log_of(shared_pair.standby))
        with application(shared_pair) as (client, agent):
            subject = make_agent(agent.services, agent.organization_id, "subject").agent_id
            with_session(client, agent)
            for route in [*PROTECTED, *(page for page in PAGES if page.method == "GET")]:
                for _ in range(2):
                    path = route.path(agent_id=subject)
                    client.open(path, method=route.method, json=route.body, headers=agent.bearer())
            issue(client, agent)
        sent = log_of(shared_pair.standby)[begin:]
        assert "from usage_daily" in sent
        assert "read-only transaction" not in sent
        for word in ("insert into", "update ", "delete from", "admit_request", "count_usage", "for update"):
            assert word not in sent, word

    def test_a_refused_caller_is_refused_by_the_primary_and_the_standby_is_not_asked(self, shared_pair: Pair) -> None:
        with application(shared_pair) as (client, agent), paused(shared_pair):
            headers = agent.bearer()
            path, asked = f"/api/v1/agents/{agent.agent_id}", ("served", "lacks a change", "behind")
            assert client.patch(path, json={"status": "suspended"}, headers=agent.bearer()).status_code == 200
            before = sum(map(reads, asked))
            assert client.get(TREND, headers=headers).status_code == 401
            assert sum(map(reads, asked)) == before


class TestStaleness:
    """A standby that is too far behind serves no reads, and a caller sees their own changes."""

    def test_a_change_is_found_at_once(self, shared_pair: Pair) -> None:
        with (
            application(shared_pair, max_staleness=3600) as (client, agent),
            application(shared_pair, max_staleness=3600) as (others, other),
        ):
            with paused(shared_pair):
                made = client.post("/api/v1/agents", json={"name": "new"}, headers=agent.bearer())
                response = client.get(made.headers["Location"], headers=agent.bearer())
                assert response.status_code == 200
                assert STALENESS not in response.headers
                # The other organization has changed nothing, so the standby still serves its reads.
                assert tokens(others, other)[1]
            shared_pair.wait()
            assert STALENESS in client.get(made.headers["Location"], headers=agent.bearer()).headers

    def test_a_finding_that_the_standby_does_not_have_is_looked_for_on_the_primary(self, shared_pair: Pair) -> None:
        with application(shared_pair, max_staleness=3600) as (client, agent), paused(shared_pair):
            finding_id = make_finding(agent.services, agent.organization_id)
            with_session(client, agent)
            before = reads("served")
            # An alert with this ID may have been delivered.
            found = client.get(f"/api/v1/analytics/findings/{finding_id}", headers=agent.bearer())
            assert (found.status_code, [one["change"] for one in found.json["history"]]) == (200, ["opened"])  # type: ignore[index]
            assert client.get(f"/dashboard/findings/{finding_id}").status_code == 200
            assert reads("served") == before + 2
            unknown = f"/api/v1/analytics/findings/{uuid.uuid4()}"
            assert client.get(unknown, headers=agent.bearer()).status_code == 404

    def test_what_a_request_reads_after_it_has_written_comes_from_the_primary(self, shared_pair: Pair) -> None:
        with application(shared_pair) as (client, agent):

            @bearer("agents:read")
            def write_and_read(caller: Caller) -> Response:
                caller.read("organizations/get_organization")
                with caller.transaction() as opened:
                    # This change is not recorded in the audit trail.
                    opened.run(build_admission_call(caller.agent_id, "a jti", caller.at))
                before = reads("served")
                caller.read("organizations/get_organization")
                assert reads("served") == before
                return Response()

            client.application.add_url_rule("/api/v1/write-and-read", view_func=write_and_read)
            response = client.get("/api/v1/write-and-read", headers=agent.bearer())
            assert (response.status_code, STALENESS in response.headers) == (200, True)

    @pytest.mark.parametrize("cause", [paused, cut_off])
    def test_a_standby_that_is_too_far_behind_is_not_read_until_it_is_up_to_date(
        self,
        shared_pair: Pair,
        cause: Callable[[Pair], Any],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(read_replica, "PAUSE", 0.05)
        with application(shared_pair, max_staleness=0.5) as (client, agent):
            with cause(shared_pair):
                # The standby lacks no change, however long ago the primary wrote.
                time.sleep(0.6)
                assert tokens(client, agent)[0] == 0
                issue(client, agent)
                wait_until(lambda: tokens(client, agent) == (1, False))
                wait_until(lambda: tokens(client, agent) == (1, False) and said(caplog) == [BEHIND])
                for _ in range(20):
                    assert tokens(client, agent) == (1, False)
                    time.sleep(0.01)
                assert said(caplog) == [BEHIND]
            again = [BEHIND, "read replica is up to date again"]
            wait_until(lambda: tokens(client, agent) == (1, True) and said(caplog) == again)

    def test_a_standby_that_is_behind_is_not_asked_by_every_request(
        self, shared_pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read_replica, "PAUSE", PATIENCE)
        with application(shared_pair, max_staleness=0.1) as (client, agent), paused(shared_pair):
            issue(client, agent)
            time.sleep(0.2)
            assert tokens(client, agent) == (1, False)
            begin = log_of(shared_pair.standby).count("from usage_daily")
            for _ in range(10):
                assert tokens(client, agent) == (1, False)
            assert log_of(shared_pair.standby).count("from usage_daily") == begin

    def test_the_first_transaction_after_a_long_pause_is_not_reported(
        self, shared_pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read_replica, "PAUSE", 0.0)
        # So many seconds that a slow machine reads before the next transaction is late itself.
        with application(shared_pair, max_staleness=2) as (client, agent):
            for _ in range(2):
                time.sleep(2.1)
                with paused(shared_pair):
                    issue(client, agent)
                    # The last replayed transaction is old, and the next transaction is in transit.
                    tokens(client, agent)
                shared_pair.wait()
            assert said(caplog) == []


class TestLoss:
    """Without the standby the primary serves its reads, and each change of the state is logged once."""

    def test_a_standby_that_does_not_answer_delays_one_request(self, shared_pair: Pair) -> None:
        with application(shared_pair) as (client, agent):
            assert tokens(client, agent)[1]
            with frozen(shared_pair.standby):
                with within(DEADLINE + 1):
                    assert tokens(client, agent) == (0, False)
                with within(1):
                    for _ in range(10):
                        assert tokens(client, agent) == (0, False)
            wait_until(lambda: tokens(client, agent) == (0, True))

    def test_starts_without_the_standby(self, shared_pair: Pair) -> None:
        nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
        with application(shared_pair, read_database_url=nowhere) as (client, agent):
            issue(client, agent)
            assert tokens(client, agent) == (1, False)

    def test_a_server_that_is_no_standby_is_not_read(self, shared_pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        with application(shared_pair, read_database_url=shared_pair.primary.url) as (client, agent):
            for _ in range(5):
                assert tokens(client, agent) == (0, False)
            time.sleep(0.2)
            assert tokens(client, agent) == (0, False)
        assert said(caplog).count("database unreachable") == 1
        assert "database reachable again" not in said(caplog)

    def test_a_statement_that_the_standby_cancels_in_favour_of_the_primary_is_repeated_there(
        self, shared_pair: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = shared_pair.primary.url
        with (
            on_the_standby(shared_pair, f"perform from obstacle; perform pg_sleep({PATIENCE})"),
            application(shared_pair, statement_timeout=20.0) as (client, agent),
            ThreadPoolExecutor(1) as thread,
        ):
            before, headers = reads("conflict"), agent.bearer()
            asked = thread.submit(lambda: client.get("/api/v1/resource-servers", headers=headers))
            sleeping = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
            wait_until(lambda: execute(shared_pair.standby.url, sleeping) != [])
            # The statement blocks the replay of this change.
            execute(url, "alter table obstacle add m bigint")
            response = asked.result(PATIENCE)
            assert response.status_code == 200
            assert STALENESS not in response.headers
            assert reads("conflict") == before + 1
        assert "conflict with recovery" in log_of(shared_pair.standby)
        assert said(caplog) == []

    def test_a_statement_that_only_the_standby_refuses_is_repeated_on_the_primary(self, shared_pair: Pair) -> None:
        refuse = "raise exception using errcode = '0A000'"
        with on_the_standby(shared_pair, refuse), application(shared_pair) as (client, agent):
            response = client.get("/api/v1/resource-servers", headers=agent.bearer())
            assert response.status_code == 200
            assert STALENESS not in response.headers

    def test_a_read_that_takes_too_long_is_not_repeated(self, shared_pair: Pair) -> None:
        with on_the_standby(shared_pair, "perform pg_sleep(3)"), application(shared_pair) as (client, agent):
            assert_unavailable(client.get("/api/v1/resource-servers", headers=agent.bearer()))
            assert tokens(client, agent) == (0, True)


@contextmanager
def on_the_standby(pair: Pair, statements: str) -> Iterator[None]:
    """Make reads of the table resource_servers on the standby also run these statements of PL/pgSQL."""
    for statement in (
        "create table obstacle (n bigint)",
        "create function on_a_standby() returns bigint language plpgsql stable as "
        f"$$ begin if pg_is_in_recovery() then {statements}; end if; return 1; end $$",
        "alter table resource_servers rename to kept",
        "create view resource_servers as select * from kept where on_a_standby() = 1",
        "grant select on obstacle, resource_servers to agentidp_service",
    ):
        execute(pair.primary.url, statement)
    try:
        yield
    finally:
        for statement in (
            "drop view resource_servers",
            "alter table kept rename to resource_servers",
            "drop function on_a_standby",
            "drop table obstacle",
        ):
            execute(pair.primary.url, statement)


def either(pair: Pair, attributes: str = "&target_session_attrs=read-write") -> str:
    """Return a URL that leads to the server that is the primary."""
    first, _, port = pair.primary.url.rpartition("&")
    second = pair.standby.url.partition("?host=")[2].partition("&")[0]
    return f"{first},{second}&{port},5432{attributes}"


class TestPromotion:
    """The standby becomes the primary: the URL with both hosts leads to it, and no acknowledged change is lost.

    tests/faults/test_read_replica.py kills the primary under load.
    """

    def test_of_a_primary_that_does_not_answer_and_comes_back(self, pair: Pair) -> None:
        with application(pair, url=either(pair)) as (client, agent):
            issue(client, agent)
            pair.wait()
            with frozen(pair.primary):
                assert client.post("/api/v1/token", data=agent.form).status_code == 503
                execute(pair.standby.url, "select pg_promote()")
                with within(3 * DEADLINE):
                    wait_until(lambda: client.post("/api/v1/token", data=agent.form).status_code == 200)
            assert usage_sums(pair.standby.url, agent.organization_id)["tokens"] == 2

    def test_a_server_that_became_read_only_is_left_and_used_again(
        self, pair: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        with application(pair) as (client, agent):
            issue(client, agent)
            execute(pair.primary.url, "alter system set default_transaction_read_only = on")
            execute(pair.primary.url, "select pg_reload_conf()")
            wait_until(lambda: client.post("/api/v1/token", data=agent.form).status_code == 503)
            for _ in range(20):
                assert client.post("/api/v1/token", data=agent.form).status_code == 503
            assert client.get("/readyz").status_code == 503
            messages = said(caplog)
            assert (messages.count("database unreachable"), messages.count("database unavailable")) == (1, 0)
            execute(pair.primary.url, "alter system reset default_transaction_read_only")
            execute(pair.primary.url, "select pg_reload_conf()")
            with within(3):
                wait_until(lambda: client.post("/api/v1/token", data=agent.form).status_code == 200)

    def test_a_standby_cannot_be_the_primary(self, shared_pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
        app = create_app(settings_for(shared_pair.standby.url), clock=Clock())
        assert_unavailable(app.test_client().get("/readyz"))
        # A thread of the pool logs this line, perhaps after the response.
        wait_until(lambda: any(hasattr(record, "fields") for record in caplog.records))
        app.extensions["agentidp"].close()
        reasons = [record.fields["reason"] for record in caplog.records if hasattr(record, "fields")]
        assert reasons[0] == "the server is read-only: a standby, or with default_transaction_read_only"
