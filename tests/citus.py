"""A real Citus cluster on loopback: a coordinator and workers, each a PostgreSQL server of its own, without fsync.

Citus comes from any PostgreSQL installation that has the extension: :func:`installation` says where it is looked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from agentidp.db.embedded_postgres.home import find_service_account
from tests.factories import PATIENCE, free_port

SHARDS = 4
"""Number of shards per table. With Citus's default of 32, copying a database takes eight times as long."""

MEMORY = Path("/dev/shm")  # noqa: S108 - the cluster gets a private directory in it

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'citus'
max_connections = 200
max_worker_processes = 64
max_prepared_transactions = 200
wal_level = logical
shared_buffers = 64MB
citus.enable_statistics_collection = off
citus.node_conninfo = 'sslmode=disable'
fsync = off
full_page_writes = off
"""

COMPARES_STATEMENTS = pytest.mark.not_on_citus(
    "compares the texts that are sent; on Citus they have their parameters in them"
)
ADDS_A_TRIGGER = pytest.mark.not_on_citus("adds a trigger, which Citus refuses on distributed tables")
REFUSED_BY_CITUS = pytest.mark.not_on_citus(
    "its own statement is refused: across shards, by several roles in one transaction, as COPY, or by a stable function"
)
WATCHES_THE_COORDINATOR = pytest.mark.not_on_citus("waits for what a backend does that is on a worker there")
READS_A_PLAN = pytest.mark.not_on_citus(
    "counts what one server reads by its plan; tests/db/test_citus.py reads Citus's plans"
)
WITHOUT_CITUS = pytest.mark.not_on_citus("expects what a database without Citus has, or what is said about it")
PARTLY_REFUSED = pytest.mark.not_on_citus(
    "takes the conditions out of each statement, or runs it as several roles; Citus refuses many of these",
    strict=False,
    raises=(
        psycopg.errors.ActiveSqlTransaction,
        psycopg.errors.FeatureNotSupported,
        psycopg.errors.InternalError_,
        psycopg.errors.SyntaxError,
    ),
)
"""The reasons why a test does not apply to distributed tables. With ``AGENTIDP_TEST_CITUS=everywhere`` such a test must
fail. With ``strict=False``, some of its cases fail, with one of these errors.
"""


def installation() -> Path | None:
    """Return the directory of the programs of a PostgreSQL with Citus: ``AGENTIDP_TEST_CITUS_BINDIR``, or Debian's."""
    if bindir := os.environ.get("AGENTIDP_TEST_CITUS_BINDIR"):
        return Path(bindir)
    library_files = sorted(Path("/usr/lib/postgresql").glob("1[5-9]/lib/citus.so"))
    return library_files[-1].parent.parent / "bin" if library_files else None


def missing() -> str | None:
    """Return a sentence about what this machine lacks to run a cluster, or ``None``."""
    return "No PostgreSQL with Citus is installed (docs/contributing/citus.md)." if installation() is None else None


@dataclass
class Node:
    """One server of a cluster."""

    bindir: Path
    data: Path
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"

    def make(self) -> None:
        """Initialize the server, and start it."""
        self._run(
            "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8",
            f"--pgdata={self.data}",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(f"port = {self.port}\n{_CONFIGURATION}")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._run("pg_ctl", f"--pgdata={self.data}", "--wait", f"--log={self.data}.log", "start")

    def stop(self) -> None:
        """Stop the server, if it runs."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", f"--pgdata={self.data}", "--wait", "--mode=immediate", "stop")

    def kill(self) -> None:
        """Kill the server, as the kernel does if memory runs out."""
        os.kill(int((self.data / "postmaster.pid").read_text().split("\n")[0]), signal.SIGKILL)

    def url(self, database: str) -> str:
        """Return the URL of a database for the superuser."""
        # The URL has the form of with_database() in tests/conftest.py.
        return f"postgresql://postgres:@/{database}?host={self.host}&port={self.port}"

    def execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in a database, as the superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_connections(self, database: str) -> None:
        """End all connections to a database, and wait until they have ended."""
        self.execute(
            "postgres", f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{database}'"
        )

    def drop(self, database: str) -> None:
        """Drop a database."""
        self.undisturbed(database, f"drop database if exists {database} with (force)")

    def copy(self, template: str, database: str) -> None:
        """Copy a database that allows no connections."""
        self.undisturbed(template, f"create database {database} template {template} strategy file_copy")

    def undisturbed(self, database: str, statement: str) -> None:
        """Run a statement that needs a database without connections. The statement is repeated, because Citus's
        maintenance daemon or autovacuum may connect just after the connections were ended.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.execute("postgres", statement)
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                self.end_connections(database)
            else:
                return

    def _run(self, program: str, *arguments: str) -> None:
        account = find_service_account() if os.getuid() == 0 else None
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        command: list[str | Path] = [self.bindir / program, *arguments]
        output = self.data.with_suffix(".out")
        with output.open("ab") as stream:
            # The output is no pipe, because the server would inherit the pipe and keep it open.
            subprocess.run(command, check=True, stdout=stream, stderr=stream, cwd="/", timeout=5 * PATIENCE, **identity)  # type: ignore[call-overload]


class Cluster:
    """A coordinator and its workers.

    :param directory: the directory for the data of the servers.
    :param bindir: the directory of the programs.
    """

    def __init__(self, directory: Path, bindir: Path, workers: int = 2) -> None:
        self._directory, self._bindir = directory, bindir
        self.coordinator = self._node("coordinator")
        self.workers = [self._node(f"worker{number}") for number in range(workers)]

    def start(self) -> None:
        """Initialize and start all servers."""
        self._on_all(Node.make)

    def stop(self) -> None:
        """Stop all servers."""
        self._on_all(Node.stop)

    def add_worker(self, database: str) -> Node:
        """Start one more worker, and add it to a database. The worker has no shards yet."""
        node = self._node(f"worker{len(self.workers)}")
        node.make()
        self.workers.append(node)
        node.execute("postgres", f"create database {database}")
        node.execute(database, "create extension citus")
        self.coordinator.execute(database, f"select citus_add_node('{node.host}', {node.port})")
        return node

    def create(self, database: str) -> None:
        """Create an empty database with the extension on all nodes."""

        def create(node: Node) -> None:
            node.execute("postgres", f"create database {database} template template0")
            node.execute(database, "create extension citus")

        self._on_all(create)
        self.add_nodes(database)

    def add_nodes(self, database: str) -> None:
        """Register the nodes of the cluster at the coordinator of a database."""
        coordinator = self.coordinator
        coordinator.execute("postgres", f"alter database {database} set citus.shard_count = {SHARDS}")
        coordinator.execute(database, f"select citus_set_coordinator_host('{coordinator.host}', {coordinator.port})")
        for worker in self.workers:
            coordinator.execute(database, f"select citus_add_node('{worker.host}', {worker.port})")

    def make_template(self, database: str) -> None:
        """Refuse connections to a database, so that it can be copied."""

        def close(node: Node) -> None:
            node.execute("postgres", f"alter database {database} allow_connections false")
            node.end_connections(database)

        self._on_all(close)

    def copy(self, template: str, database: str) -> None:
        """Copy a database on all nodes. The copy keeps the registered nodes and shards."""
        self._on_all(lambda node: node.copy(template, database))

    def drop(self, database: str) -> None:
        """Drop a database on all nodes."""
        self._on_all(lambda node: node.drop(database))

    def _node(self, name: str) -> Node:
        return Node(self._bindir, self._directory / name)

    def _on_all(self, do: object) -> None:
        nodes = [self.coordinator, *self.workers]
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(do, nodes))  # type: ignore[arg-type]


def nodes_of(url: str) -> list[tuple[str, int]]:
    """Return the host and port of each node that is registered in the database at *url*, the coordinator first."""
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("select from pg_extension where extname = 'citus'").fetchall():
            return []
        return connection.execute(
            "select nodename, nodeport from pg_dist_node where noderole = 'primary' order by groupid"
        ).fetchall()


def servers_of(url: str) -> list[str]:
    """Return the URLs of the database on each server of its cluster, the coordinator first; *url* without Citus."""
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    return [Node(Path(), Path(), port=port, host=host).url(name) for host, port in nodes_of(url)] or [url]


def server_of(url: str, organization_id: str) -> str:
    """Return the URL of the database on the server that has an organization's rows; *url* without Citus."""
    nodes = nodes_of(url)
    if not nodes:
        return url
    with psycopg.connect(url, autocommit=True) as connection:
        [place] = connection.execute(
            "select nodename, nodeport from citus_shards "
            "where shardid = get_shard_id_for_distribution_column('organizations', %s::text)",
            [organization_id],
        ).fetchall()
    return servers_of(url)[nodes.index(place)]


def someone_waits(url: str) -> bool:
    """Whether a transaction waits for a row that another one has locked, on any server of the database at *url*."""
    waits = "exists (select from pg_locks where locktype in ('transactionid', 'advisory') and not granted)"
    with psycopg.connect(url, autocommit=True) as connection:
        everywhere = f"select bool_or(result::boolean) from run_command_on_all_nodes($$select {waits}$$)"
        has_citus = connection.execute("select from pg_extension where extname = 'citus'").fetchall()
        [(is_waiting,)] = connection.execute((everywhere if has_citus else f"select {waits}").encode()).fetchall()
        return bool(is_waiting)


RUNNING: dict[str, Cluster] = {}
"""Each running cluster by its coordinator's URL."""


@contextlib.contextmanager
def cluster(workers: int = 2) -> Iterator[Cluster]:
    """Run a throw-away cluster until the block ends."""
    bindir = installation()
    assert bindir is not None, "no PostgreSQL with Citus is installed (docs/contributing/citus.md)"
    in_memory = os.access(MEMORY, os.W_OK)
    directory = Path(tempfile.mkdtemp(prefix="agentidp-citus-", dir=MEMORY if in_memory else None))
    if os.getuid() == 0:
        os.chown(directory, find_service_account().pw_uid, find_service_account().pw_gid)
    new_cluster = Cluster(directory, bindir, workers)
    try:
        new_cluster.start()
        RUNNING[new_cluster.coordinator.url("postgres")] = new_cluster
        yield new_cluster
    finally:
        RUNNING.pop(new_cluster.coordinator.url("postgres"), None)
        new_cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)
