"""Each fault in the middle of a load: no token that a client has is lost, none is counted twice, and no error is a 500.

The bounds of each row, with their reasons, are in ``bounds.py``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import jwt
import psycopg
import pytest

from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import EmbeddedPostgres, find_url
from agentidp.jose.key_rotation import rotate_keys
from agentidp.jose.signing_keys import CACHE_SECONDS
from tests.conftest import install, settings_for, with_database
from tests.factories import PATIENCE, Server, ServerWithoutLauncher, execute, wait_until
from tests.faults.bounds import DETECTION, STATEMENT_TIMEOUT
from tests.faults.codes import Codes
from tests.faults.disk import fill, may_mount, run_where_it_may_mount, small_file_system
from tests.faults.load import Fleet
from tests.faults.rig import environment, run
from tests.frozen import frozen, kill
from tests.next_release import MIGRATION, NextRelease


def new_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The URL of a database without a schema."""
    execute(postgres.url, f"create database {name} template template0")
    return with_database(postgres.url, name)


OUTAGE = 3.0
"""Seconds for which the database is unreachable, which the service notices within one second."""


def database_killed(postgres: EmbeddedPostgres, _: Server, __: Fleet) -> None:
    kill(postgres.home)
    time.sleep(OUTAGE)
    postgres.start()


def database_restarted(postgres: EmbeddedPostgres, _: Server, __: Fleet) -> None:
    for _ in range(3):
        postgres.stop()
        postgres.start()
        time.sleep(0.5)


def database_frozen(postgres: EmbeddedPostgres, _: Server, __: Fleet) -> None:
    with frozen(postgres):
        time.sleep(DETECTION + 2)


def counters_locked(postgres: EmbeddedPostgres, _: Server, __: Fleet) -> None:
    with psycopg.connect(postgres.url) as other:
        # A lock on the rows would not suffice, because a token is counted in the lowest free slot.
        other.execute("lock table usage_daily in exclusive mode")
        time.sleep(STATEMENT_TIMEOUT + 1)
        other.rollback()


def failing_trigger(postgres: EmbeddedPostgres, _: Server, fleet: Fleet) -> None:
    execute(
        postgres.url,
        "create or replace function refuse() returns trigger language plpgsql as "
        "'begin raise exception ''no space'' using errcode = ''disk_full''; end'; "
        "create trigger refuse before update on usage_daily for each row "
        f"when (new.organization_id = '{fleet.organization_id}' and new.tokens % 3 = 0) execute function refuse()",
    )
    time.sleep(2)
    execute(postgres.url, "drop trigger refuse on usage_daily")


def worker_killed(_: EmbeddedPostgres, server: Server, __: Fleet) -> None:
    for _ in range(2):
        first, *_ = server.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda first=first: first not in server.workers() and len(server.workers()) == 2)
        time.sleep(0.5)


def hup(_: EmbeddedPostgres, server: Server, __: Fleet) -> None:
    old = set(server.workers())
    os.kill(server.main_process(), signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()))


def term_and_start(_: EmbeddedPostgres, server: Server, __: Fleet) -> None:
    server.__exit__()
    server.__enter__()


FAULTS = {
    "database killed": database_killed,
    "database restarted": database_restarted,
    "database frozen": database_frozen,
    "counters locked": counters_locked,
    "failing trigger": failing_trigger,
    "worker killed": worker_killed,
    "HUP": hup,
    "TERM and start": term_and_start,
}


@pytest.mark.parametrize("row", FAULTS)
def test_fault(postgres: EmbeddedPostgres, server: Server, row: str) -> None:
    run(row, postgres.url, [server], lambda fleet: FAULTS[row](postgres, server, fleet))


def test_codes_while_the_server_or_the_database_is_killed(postgres: EmbeddedPostgres, server: Server) -> None:
    def server_killed() -> None:
        server.kill()
        server.__exit__()
        server.__enter__()

    def database_away() -> None:
        kill(postgres.home)
        time.sleep(1)
        postgres.start()

    for fault in (server_killed, database_away):
        Codes.make(postgres.url).redeem_all(server.port, fault)


def test_embedded_database_killed(directory: Path) -> None:
    with Server(environment("", AGENTIDP_DATA_DIR=str(directory / "data"))) as server:
        home = directory / "data" / "postgres"
        url = find_url(home)
        assert url is not None
        run("embedded database killed", url, [server], lambda _: kill(home))


def test_disk_full(request: pytest.FixtureRequest) -> None:
    if not may_mount():
        run_where_it_may_mount(request.node.nodeid)
        return
    with small_file_system() as path, EmbeddedPostgres(path / "home") as postgres:

        def fault(_: Fleet) -> None:
            ballast = fill(path)
            time.sleep(2)
            # The log has files in reserve. A database that cannot get another one ends by itself.
            with suppress(psycopg.Error), psycopg.connect(postgres.url, autocommit=True) as operator:
                for _ in range(32):
                    operator.execute("select pg_switch_wal()")
                    operator.execute("select pg_logical_emit_message(false, 'spill', 'spill')")
            time.sleep(2)
            ballast.unlink()
            postgres.start()

        install(postgres.url)
        with ServerWithoutLauncher(environment(postgres.url)) as server:
            run("disk full", postgres.url, [server], fault)
        assert "No space left on device" in (postgres.home / "server.log").read_text()


def test_two_rotations(postgres: EmbeddedPostgres, server: Server) -> None:
    kids: set[str] = set()

    def fault(_: Fleet) -> None:
        # Servers read the keys every CACHE_SECONDS; a key that signs earlier is not published before it signs.
        for later in (2, 3):
            signs_from = utc_now() + timedelta(seconds=CACHE_SECONDS + later)
            kids.add(rotate_keys(settings_for(postgres.url), at=utc_now(), signs_from=signs_from))
        time.sleep(CACHE_SECONDS + 5)

    with ServerWithoutLauncher(environment(postgres.url)) as second:
        answers = run("two rotations", postgres.url, [server, second], fault)
        published = {key["kid"] for s in (server, second) for key in _jwks(s)}
    used = {jwt.get_unverified_header(answer.token)["kid"] for answer in answers if answer.token}
    assert kids < used
    assert used <= published


def test_an_upgrade(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Two servers continue while the next release migrates, and while a server of the next release runs."""
    url = new_database(postgres, "upgraded")
    release = NextRelease(tmp_path)
    release.add_migration("alter table agents add column further text not null default 'x'")
    release.change_function("count_token", "\nbegin\n", "\nbegin\n    -- Changed.\n")
    printed = f"{MIGRATION}\n{release.steps()[-1].name}\n"

    install(url)
    with ServerWithoutLauncher(environment(url)) as one, ServerWithoutLauncher(environment(url)) as other:

        def fault(_: Fleet) -> None:
            processes = [release.migrate(url) for _ in range(2)]
            outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
            assert sorted(outputs) == sorted([printed, "The schema is up to date.\n"])
            with Server(environment(url) | release.environment(url), directory=tmp_path) as newer:
                for server in (one, other, newer):
                    assert json.loads(server.get("/readyz")) == {"status": "ok"}

        run("upgrade under load", url, [one, other], fault)


def test_four_on_an_empty_database(postgres: EmbeddedPostgres) -> None:
    url = new_database(postgres, "empty")
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        servers = [Server(environment(url, WEB_CONCURRENCY="1")) for _ in range(4)]
        starts = [pool.submit(server.__enter__) for server in servers]
        for server, start in zip(servers, starts, strict=True):
            start.exception()
            stack.callback(server.__exit__)
        for start in starts:
            start.result()
        assert execute(url, "select count(*) from signing_keys") == [(1,)]
        run("four on an empty database", url, servers, lambda _: None)
        assert len({key["kid"] for server in servers for key in _jwks(server)}) == 1


def _jwks(server: Server) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = json.loads(server.get("/.well-known/jwks.json"))["keys"]
    return keys
