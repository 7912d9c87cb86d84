"""A real primary and a real hot standby that follows it by streaming replication."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from agentidp.db.embedded_postgres import EmbeddedPostgres, temporary
from agentidp.db.embedded_postgres.home import prepare_home
from agentidp.db.embedded_postgres.programs import Programs, prepare_binaries
from tests.citus import MEMORY
from tests.conftest import install
from tests.db.proxy import Proxy, proxied
from tests.factories import wait_until

_SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "wal_retrieve_retry_interval": "100ms"}


@dataclass
class Pair:
    """A primary and its standby. The standby reaches the primary over the proxy."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres
    proxy: Proxy

    def wait(self) -> None:
        """Wait until the standby has replayed all changes until now."""
        # This commit waits for the disk, so that all earlier changes are sent.
        execute(self.primary.url, "set synchronous_commit = on; select txid_current()")
        [(position,)] = execute(self.primary.url, "select pg_current_wal_lsn()")
        replayed = f"select pg_last_wal_replay_lsn() >= '{position}'"
        wait_until(lambda: execute(self.standby.url, replayed) == [(True,)])


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as the superuser, and return its rows."""
    while True:
        with contextlib.suppress(psycopg.errors.SerializationFailure), psycopg.connect(url, autocommit=True) as opened:
            # A standby cancels statements that block its replay, so the statement is repeated.
            *_, last = opened.execute(statement.encode()).results()
            return last.fetchall() if last.description else []


@contextlib.contextmanager
def replicated() -> Iterator[Pair]:
    """Yield a primary with a migrated database and a signing key, and a standby that has replayed everything."""
    directory = Path(tempfile.mkdtemp(prefix="aidp-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    directory.chmod(0o711)
    try:
        with temporary(settings=_SETTINGS) as primary, proxied(primary.url) as proxy:
            install(primary.url)
            home = directory / "standby"
            _copy(primary, home)
            follows = {
                "primary_conninfo": make_conninfo(proxy.url, application_name="standby"),
                "max_standby_streaming_delay": "100ms",
                "log_min_messages": "warning",
                "log_statement": "all",
            }
            with EmbeddedPostgres(home, durable=False, settings=_SETTINGS | follows) as standby:
                pair = Pair(primary, standby, proxy)
                pair.wait()
                yield pair
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(primary: EmbeddedPostgres, home: Path) -> None:
    """Copy a running server to *home*, where the copy will start as its standby."""
    account = prepare_home(home)
    programs = Programs(prepare_binaries(home, None, account), account, os.open(home / "lock", os.O_RDWR | os.O_CREAT))
    if account is not None:
        os.chown(home, account.pw_uid, account.pw_gid)
    programs.run(
        "pg_basebackup", f"--dbname={primary.url}", f"--pgdata={home / 'data'}",
        "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-manifest",
    )  # fmt: skip
    (home / "data" / "standby.signal").touch()
    if account is not None:
        os.chown(home, 0, 0)
        os.chown(home / "data" / "standby.signal", account.pw_uid, account.pw_gid)
    os.close(programs.lock)
    shutil.copy2(primary.home / "password", home / "password")
