"""Commands on a database."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.cli.command import Command


@pytest.fixture
def run(quiet: None, database_url: str) -> Command:
    """Commands on a database of the test's own."""
    return Command(database_url)


@pytest.fixture
def shared_run(quiet: None, shared_app: Flask) -> Command:
    """Commands on a database that tests share which change nothing."""
    return Command(shared_app.extensions["agentidp"].settings.database_url)
