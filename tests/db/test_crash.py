"""After a crash of PostgreSQL the service works again, also in a database that was copied from a template."""

from __future__ import annotations

import signal
from contextlib import closing

import psycopg
import pytest

from agentidp import create_app
from agentidp.db.embedded_postgres import temporary
from tests.conftest import install, settings_for, with_database
from tests.factories import PATIENCE, Clock, make_agent, make_organization


@pytest.mark.very_slow
def test_a_failed_authentication_is_counted_after_a_crash_in_a_copied_database() -> None:
    with temporary(durable=True) as server:
        install(server.url)
        with psycopg.connect(with_database(server.url, "postgres"), autocommit=True) as connection:
            connection.execute("create database copied template agentidp")
        url = with_database(server.url, "copied")
        process = server._process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE)
        server.start()
        app = create_app(settings_for(url), clock=Clock(None))
        with closing(app.extensions["agentidp"]) as services:
            agent = make_agent(services, make_organization(services))
            asked = [
                app.test_client().post("/api/v1/token", data=agent.form | changes).status_code
                for changes in ({"client_secret": "wrong"}, {})
            ]
    assert asked == [401, 200]
