"""The database is stopped, slow or behind a dead network: when clients get an error, and which. For a database that is
killed, restarted or frozen under load, see ``tests/faults``.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask

from agentidp import create_app
from agentidp.db.embedded_postgres import EmbeddedPostgres, temporary
from agentidp.db.errors import DatabaseUnavailable, OutcomeUnknown
from agentidp.db.sql import Call
from agentidp.services import Services
from tests.citus import ADDS_A_TRIGGER, WATCHES_THE_COORDINATOR
from tests.conftest import install, settings_for
from tests.db.proxy import Proxy, proxied
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    Agent,
    Clock,
    ServerWithoutLauncher,
    database_of,
    execute,
    make_agent,
    make_organization,
    usage_sums,
    wait_until,
)
from tests.frozen import frozen
from tests.helpers.deadlines import DEADLINE, STATEMENT_TIMEOUT
from tests.helpers.error_responses import assert_unavailable
from tests.machine import within

pytestmark = pytest.mark.very_slow

UNKNOWN = (
    "It is unknown whether the request was carried out: the database did not answer. A token request may be repeated; "
    "it then gets a further token, and if the first one was issued, both are counted."
)


@contextmanager
def application(url: str, **settings: Any) -> Iterator[tuple[Flask, Agent]]:
    """Yield the application on the database *url*, and an agent whose token was used once."""
    app = create_app(settings_for(url, **({"statement_timeout": STATEMENT_TIMEOUT} | settings)), clock=Clock())
    services: Services = app.extensions["agentidp"]
    try:
        agent = make_agent(services, make_organization(services))
        assert app.test_client().post("/api/v1/token", data=agent.form).status_code == 200
        yield app, agent
    finally:
        services.close()


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """Run a server that the test may stop."""
    with temporary() as postgres:
        install(postgres.url)
        yield postgres


def test_health_waits_for_one_deadline_at_most_and_readiness_fails_at_once(postgres: EmbeddedPostgres) -> None:
    own = {"AGENTIDP_DATABASE_URL": postgres.url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "WEB_CONCURRENCY": "1"}
    own |= {"AGENTIDP_STATEMENT_TIMEOUT": "1", "AGENTIDP_POOL_TIMEOUT": "3"}
    with ServerWithoutLauncher(own) as server:

        def status(path: str) -> int:
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                return response.status

        with ThreadPoolExecutor(16) as threads:
            assert set(threads.map(status, ["/readyz"] * 16)) == {200}
            with frozen(postgres):
                # Twice as many requests as gunicorn has threads. All threads then wait for the database.
                blocked = [threads.submit(status, "/readyz") for _ in range(16)]
                time.sleep(0.3)
                with within(DEADLINE + 1):
                    status("/healthz")
                assert [answer.result() for answer in blocked] == [503] * 16
                # All requests together take less time than one request that waits.
                with within(DEADLINE):
                    assert [status(path) for path in ["/healthz", "/readyz"] * 10] == [200, 503] * 10
            with within(2):
                wait_until(lambda: status("/readyz") == 200)
        lines = [json.loads(line) for line in server.logs().splitlines() if "unreachable" in line]
        assert [(line["message"], line["database"]) for line in lines if line["level"] == "ERROR"] == [
            ("database unreachable", "primary")
        ]


def test_a_host_that_does_not_answer_is_given_up_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        app = create_app(settings_for(url, statement_timeout=STATEMENT_TIMEOUT), clock=Clock())
        client = app.test_client()
        with within(DEADLINE + 1):
            assert_unavailable(client.get("/readyz"))
        with within(2):
            for _ in range(20):
                assert_unavailable(client.get("/readyz"))
        app.extensions["agentidp"].close()


def test_statements_that_together_take_too_long_are_cancelled_and_are_no_outage(database_url: str) -> None:
    with application(database_url) as (app, agent):
        services: Services = app.extensions["agentidp"]
        with services.database.pool.connection() as pooled:
            pids = [pooled.info.backend_pid]
        ping = Call("database/applied_migrations", {})
        with psycopg.connect(database_url, autocommit=True) as other:
            # Each statement stays below the statement timeout, and both together exceed the time of the exchange.
            other.execute("create function slowly() returns bigint language sql as 'select 1 from pg_sleep(0.9)'")
            other.execute("alter table schema_migrations rename to kept")
            other.execute("create view schema_migrations as select slowly() as name")
            other.execute("grant select on schema_migrations to agentidp_service")
            with within(DEADLINE + 1), pytest.raises(DatabaseUnavailable) as caught:
                database_of(services, agent.organization_id).run(*[ping] * 8)
            assert not isinstance(caught.value, OutcomeUnknown)
            active = "select count(*) from pg_stat_activity where pid = any (%s) and state = 'active'"
            assert other.execute(active, [pids]).fetchone() == (0,)
        assert not services.database.pool.breaker.is_open


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """Run a proxy between the service and the database."""
    with proxied(database_url) as proxy:
        yield proxy


TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
    "and application_name = 'agentidp' and "
)


class TestOutcome:
    """A 503 says whether certainly nothing was changed, or the outcome is unknown."""

    def test_an_answer_that_never_comes_is_an_unknown_outcome_and_the_token_is_counted(
        self, proxy: Proxy, database_url: str
    ) -> None:
        with application(proxy.url) as (app, agent):
            before = usage_sums(database_url, agent.organization_id)["tokens"]
            proxy.loses_answers = True
            with within(DEADLINE + 1):
                answer = app.test_client().post("/api/v1/token", data=agent.form)
            assert_unavailable(answer, UNKNOWN, is_oauth=True)
            assert usage_sums(database_url, agent.organization_id)["tokens"] == before + 1
            # The request is not repeated. The next request is refused at once, so its outcome is certain.
            answer = app.test_client().post("/api/v1/token", data=agent.form)
            assert_unavailable(answer, is_oauth=True)
            proxy.loses_answers = False
            proxy.cut()
            client = app.test_client()
            with within(2):
                wait_until(lambda: client.post("/api/v1/token", data=agent.form).status_code == 200)
            assert client.get("/readyz").status_code == 200
            assert usage_sums(database_url, agent.organization_id)["tokens"] == before + 2

    def test_a_connection_lost_after_the_commit_is_an_unknown_outcome(self, proxy: Proxy, database_url: str) -> None:
        with application(proxy.url) as (app, agent):
            before = usage_sums(database_url, agent.organization_id)["requests"]
            headers = agent.bearer()
            proxy.loses_answers = True
            with ThreadPoolExecutor(1) as thread:
                asked = thread.submit(lambda: app.test_client().get("/api/v1/agents", headers=headers))
                wait_until(lambda: usage_sums(database_url, agent.organization_id)["requests"] == before + 1)
                proxy.cut()
                answer = asked.result(PATIENCE)
            assert_unavailable(answer, UNKNOWN)
            assert usage_sums(database_url, agent.organization_id)["requests"] == before + 1
            proxy.loses_answers = False

    @pytest.mark.parametrize("is_committing", [True, False])
    def test_the_outcome_of_a_transaction_is_unknown_only_if_it_is_lost_at_its_commit(
        self, proxy: Proxy, is_committing: bool
    ) -> None:
        with application(proxy.url) as (app, agent):
            database = database_of(app.extensions["agentidp"], agent.organization_id)
            with pytest.raises(DatabaseUnavailable) as caught, database.transaction() as transaction:
                proxy.loses_answers = not is_committing
                transaction.fetch("database/applied_migrations")
                proxy.loses_answers = True
            assert isinstance(caught.value, OutcomeUnknown) is is_committing

    def test_what_only_reads_has_no_outcome(self, proxy: Proxy) -> None:
        with application(proxy.url) as (app, _):
            proxy.loses_answers = True
            assert_unavailable(app.test_client().get("/readyz"))

    @WATCHES_THE_COORDINATOR
    @pytest.mark.parametrize("route", ["token", "agents"])
    def test_a_backend_that_is_terminated_in_a_statement_has_certainly_done_nothing(
        self, database_url: str, route: str
    ) -> None:
        with application(database_url, statement_timeout=4) as (app, agent):
            before = usage_sums(database_url, agent.organization_id)
            client = app.test_client()
            read = {"path": "/api/v1/agents", "headers": agent.bearer()}
            request = {"path": "/api/v1/token", "method": "POST", "data": agent.form} if route == "token" else read
            with psycopg.connect(database_url) as other, psycopg.connect(database_url, autocommit=True) as third:
                other.execute("lock table usage_daily in access exclusive mode")
                with ThreadPoolExecutor(1) as thread:
                    asked = thread.submit(lambda: client.open(**request))
                    wait_until(lambda: third.execute(TERMINATE + "wait_event_type = 'Lock'").fetchall() == [(True,)])
                    answer = asked.result(PATIENCE)
                other.rollback()
            assert_unavailable(answer, is_oauth=route == "token")
            assert usage_sums(database_url, agent.organization_id) == before
            assert client.open(**read).status_code == 200

    @ADDS_A_TRIGGER
    def test_a_backend_that_is_terminated_at_the_commit_leaves_the_outcome_unknown(self, database_url: str) -> None:
        with application(database_url, statement_timeout=4) as (app, agent):
            # After the last statement's answer and before the commit. Clients cannot tell it from after the commit.
            execute(
                database_url,
                "create function wait_at_commit() returns trigger language plpgsql as "
                "'begin perform pg_sleep(30); return null; end'; "
                "create constraint trigger wait after insert or update on usage_daily deferrable initially deferred "
                "for each row execute function wait_at_commit()",
            )
            with ThreadPoolExecutor(1) as thread, psycopg.connect(database_url, autocommit=True) as other:
                asked = thread.submit(lambda: app.test_client().post("/api/v1/token", data=agent.form))
                wait_until(lambda: other.execute(TERMINATE + "wait_event = 'PgSleep'").fetchall() == [(True,)])
                answer = asked.result(PATIENCE)
            assert_unavailable(answer, UNKNOWN, is_oauth=True)

    # A full disk, and an error that a trigger of the operator raises.
    @ADDS_A_TRIGGER
    @pytest.mark.parametrize("sqlstate", ["53100", "P0001"])
    def test_a_commit_that_the_database_refuses_has_certainly_done_nothing(
        self, database_url: str, sqlstate: str
    ) -> None:
        with application(database_url) as (app, agent):
            before = usage_sums(database_url, agent.organization_id)
            execute(
                database_url,
                "create function refuse() returns trigger language plpgsql as "
                f"'begin raise exception using errcode = ''{sqlstate}''; end'; "
                "create constraint trigger refuse after insert or update on usage_daily deferrable initially deferred "
                "for each row execute function refuse()",
            )
            answer = app.test_client().post("/api/v1/token", data=agent.form)
            assert_unavailable(answer, is_oauth=True)
            assert usage_sums(database_url, agent.organization_id) == before
