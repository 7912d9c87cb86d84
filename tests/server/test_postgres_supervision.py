"""The embedded PostgreSQL is killed and comes back, with what was committed and under the same URL."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from agentidp.config import ConfigurationError
from agentidp.db.embedded_postgres import EmbeddedPostgres
from agentidp.server.postgres_supervision import WINDOW, Supervisor
from tests.directory import open_directory
from tests.factories import children, execute, wait_until
from tests.frozen import kill, postmaster

pytestmark = pytest.mark.very_slow

HAS_ENDED = "the embedded PostgreSQL has ended; see postgres/server.log in the data directory"


class Seconds:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """Run a server with a table, which may be restarted twice. The socket of a long path is elsewhere."""
    monkeypatch.setattr("agentidp.server.postgres_supervision.MAX_RESTARTS", 2)
    with open_directory() as directory, EmbeddedPostgres(directory / getattr(request, "param", "home")) as running:
        execute(running.url, "create table note (text text)")
        yield running


WITH_EITHER_SOCKET = pytest.mark.parametrize(
    "server", ["home", "long-" * 20], ids=["socket in the home", "socket in /tmp"], indirect=True
)


def end(server: EmbeddedPostgres) -> None:
    """Kill the server, and wait until it has ended."""
    kill(server.home)
    wait_until(lambda: not server.is_running())


@WITH_EITHER_SOCKET
def test_a_killed_server_comes_back_under_its_url(server: EmbeddedPostgres, caplog: pytest.LogCaptureFixture) -> None:
    url, supervisor = server.url, Supervisor(server)
    supervisor.keep_running()
    assert caplog.records == []
    execute(url, "insert into note values ('kept')")
    # A process keeps the lock until it notices that the postmaster has died.
    slow = children(postmaster(server.home), "postgres")[0]
    os.kill(slow, signal.SIGSTOP)
    end(server)
    timer = threading.Timer(1.5, os.kill, (slow, signal.SIGCONT))
    timer.start()
    try:
        supervisor.keep_running()
    finally:
        timer.join()
    assert server.is_running()
    assert server.url == url
    assert execute(url, "select text from note") == [("kept",)]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "the embedded PostgreSQL has ended and is started again"),
        (logging.WARNING, "the embedded PostgreSQL runs again"),
    ]


def test_it_comes_back_only_so_often_within_a_time(server: EmbeddedPostgres) -> None:
    clock = Seconds()
    supervisor = Supervisor(server, clock=clock)
    end(server)
    supervisor.keep_running()
    assert server.is_running()
    end(server)
    clock.seconds += 1.9
    supervisor.keep_running()
    assert not server.is_running()  # the supervisor pauses after the first restart
    clock.seconds += 0.2
    supervisor.keep_running()
    assert server.is_running()
    end(server)
    clock.seconds += WINDOW - 2.2
    with pytest.raises(ConfigurationError) as caught:
        supervisor.keep_running()
    assert str(caught.value) == HAS_ENDED
    # When the first restart is old enough, another restart is allowed.
    clock.seconds += 0.2
    supervisor.keep_running()
    assert server.is_running()


def test_a_start_that_fails_is_tried_again(server: EmbeddedPostgres, caplog: pytest.LogCaptureFixture) -> None:
    url, clock = server.url, Seconds()
    supervisor = Supervisor(server, clock=clock)
    end(server)
    version = server.home / "data" / "PG_VERSION"
    version.rename(version.with_name("elsewhere"))
    supervisor.keep_running()
    assert not server.is_running()
    assert "is missing" in caplog.records[-1].fields["reason"]
    version.with_name("elsewhere").rename(version)
    clock.seconds += 2
    supervisor.keep_running()
    assert execute(url, "select 1") == [(1,)]


@WITH_EITHER_SOCKET
def test_a_start_that_always_fails_ends_the_launcher(server: EmbeddedPostgres) -> None:
    clock = Seconds()
    supervisor = Supervisor(server, clock=clock)
    end(server)
    (server.home / "password").rename(server.home / "elsewhere")
    with pytest.raises(ConfigurationError, match="has ended"):
        for _ in range(10):
            supervisor.keep_running()
            clock.seconds += 1
    # No directory stays in /tmp.
    directory = (server.home / "socket").resolve()
    server.stop()
    assert directory == server.home / "socket" or not directory.exists()
