"""A PostgreSQL and a server for the rows of ``bounds.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.conftest import install
from tests.directory import open_directory
from tests.factories import Server, ServerWithoutLauncher, wait_until
from tests.faults.rig import environment


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that keeps its commits when it is killed."""
    with open_directory() as path, EmbeddedPostgres(path / "home") as postgres:
        install(postgres.url)
        yield postgres


@pytest.fixture
def postgres(cluster: EmbeddedPostgres) -> EmbeddedPostgres:
    """The shared PostgreSQL, which is started again if the previous row has killed it."""
    return cluster.start()


@pytest.fixture(scope="module")
def shared_server(cluster: EmbeddedPostgres) -> Iterator[Server]:
    """A server with two workers."""
    with ServerWithoutLauncher(environment(cluster.url)) as running:
        yield running


@pytest.fixture
def server(postgres: EmbeddedPostgres, shared_server: Server) -> Server:
    """The shared server, after both workers have noticed that the fault of the row before is over."""
    # The kernel chooses a worker for each connection.
    wait_until(lambda: all(is_ready(shared_server) for _ in range(16)))
    return shared_server


def is_ready(server: Server) -> bool:
    """Return whether a worker responds and reaches the database."""
    with contextlib.suppress(OSError):
        return bool(server.get("/readyz"))
    return False
