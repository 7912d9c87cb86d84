"""Commands on a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.config import Settings
from tests.cli.command import Command
from tests.cli.terminal import Terminal


@pytest.fixture
def run(quiet: None, database_url: str) -> Command:
    return Command(database_url)


@pytest.fixture
def shared_run(quiet: None, shared_app: Flask) -> Command:
    """Runs commands on a database that is shared by tests that change nothing."""
    return Command(shared_app.extensions["agentidp"].settings.database_url)


@pytest.fixture
def acme(run: Command) -> str:
    """The id of the organization Acme."""
    return run("organization", "create", "Acme")


@pytest.fixture
def agent(run: Command, acme: str) -> str:
    """The id of Acme's agent builder."""
    return run("agent", "create", "builder", "--organization", acme)


@pytest.fixture
def terminal(quiet: None, database_url: str) -> Terminal:
    """Runs commands on a terminal, with the database of ``run``."""
    return Terminal(database_url)


@pytest.fixture
def service(run: Command) -> Iterator[FlaskClient]:
    """A client of the service on the same database, with the same clock as the commands."""
    app = create_app(Settings.from_environment(run.environment))
    yield app.test_client()
    app.extensions["agentidp"].close()
