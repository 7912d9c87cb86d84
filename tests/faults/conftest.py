"""A PostgreSQL and a server for the rows of the table, which ``tests/conftest.py`` prints at the end of a run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict

import pytest

from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.directory import open_directory
from tests.factories import Server
from tests.faults.ledger import RESULTS, ROW
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send a test's rows with its report: another process may run the test than the one that prints the table."""
    report = yield
    report.user_properties += [(ROW, asdict(result)) for result in RESULTS]
    RESULTS.clear()
    return report
