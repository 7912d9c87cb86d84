"""A PostgreSQL and a server for the rows of ``bounds.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.directory import open_directory
from tests.factories import Server
from tests.faults.rig import environment


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that keeps what it has committed when it is killed."""
    with open_directory() as path, EmbeddedPostgres(path / "home") as postgres:
        yield postgres


@pytest.fixture
def postgres(cluster: EmbeddedPostgres) -> EmbeddedPostgres:
    """The shared PostgreSQL, which runs even if the row before has left it dead."""
    return cluster.start()


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[Server]:
    """A server with two workers."""
    with Server(environment(postgres.url)) as running:
        yield running
