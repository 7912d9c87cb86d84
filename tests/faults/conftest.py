"""A PostgreSQL and a server for the rows of the table, and the table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

from agentidp.embedded_postgres import EmbeddedPostgres

from ..factories import Server
from .ledger import RESULTS, table
from .rig import directory, environment


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that keeps what it has committed when it is killed."""
    with directory() as path, EmbeddedPostgres(path / "home") as postgres:
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


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print a line for each row that ran."""
    if RESULTS:
        terminalreporter.section("faults")
        for line in table():
            terminalreporter.write_line(line)
