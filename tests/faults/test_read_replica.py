"""Faults of a primary and its hot standby under the load of a server with two workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.db.test_read_replica import either
from tests.factories import Server, ServerWithoutLauncher, wait_until
from tests.faults.load import Fleet
from tests.faults.rig import environment, run
from tests.frozen import kill
from tests.standby import Pair, execute, replicated

OUTAGE = 3.0
"""Seconds for which the standby is away."""

READS = 5
"""Statements of the load's reads that the standby must run before the fault, and after it."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and a standby of the test's own."""
    with replicated() as made:
        yield made


@pytest.fixture
def serve() -> Iterator[Callable[[str, Pair], Server]]:
    """Starts a server on a database, with the standby for its reads."""
    with_standby: list[Server] = []

    def start(url: str, pair: Pair) -> Server:
        server = ServerWithoutLauncher(environment(url, AGENTIDP_READ_DATABASE_URL=pair.standby.url))
        with_standby.append(server.__enter__())
        return server

    yield start
    for server in with_standby:
        server.__exit__()


def trends(postgres: EmbeddedPostgres) -> int:
    """How many trends a server has read since it was made."""
    return (postgres.home / "server.log").read_text(errors="replace").count("from usage_daily")


def wait_for_reads(postgres: EmbeddedPostgres) -> None:
    """Wait until the load has read from a server."""
    before = trends(postgres)
    wait_until(lambda: trends(postgres) >= before + READS)


def test_a_killed_standby_fails_no_request_and_serves_again(pair: Pair, serve: Callable[[str, Pair], Server]) -> None:
    server = serve(pair.primary.url, pair)

    def fault(_: Fleet) -> None:
        wait_for_reads(pair.standby)
        kill(pair.standby.home)
        time.sleep(OUTAGE)
        pair.standby.start()
        wait_for_reads(pair.standby)

    answers = run("standby killed", pair.primary.url, [server], fault)
    assert sum(answer.kind == "read" for answer in answers) > 2 * READS
    # One line for the loss and one for the end, of each worker.
    for message in ('"database unreachable"', '"database reachable again"'):
        assert 1 <= server.logs().count(message) <= 2, server.logs()[-2000:]


def test_the_standby_takes_over_from_a_killed_primary(pair: Pair, serve: Callable[[str, Pair], Server]) -> None:
    # Otherwise a token that only the primary had would be lost with it.
    execute(pair.primary.url, "alter system set synchronous_standby_names = '*'")
    execute(pair.primary.url, "select pg_reload_conf()")
    wait_until(lambda: execute(pair.primary.url, "select sync_state from pg_stat_replication") == [("sync",)])
    url = either(pair)
    server = serve(url, pair)
    promoted = 0.0

    def fault(_: Fleet) -> None:
        nonlocal promoted
        wait_for_reads(pair.standby)
        kill(pair.primary.home)
        time.sleep(OUTAGE)
        execute(pair.standby.url, "select pg_promote()")
        promoted = time.monotonic()

    answers = run("standby promoted", url, [server], fault)
    assert any(answer.kind == "read" and answer.status == 200 and answer.began >= promoted for answer in answers)
