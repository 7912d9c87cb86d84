"""Commands on a database."""

from __future__ import annotations

import pytest

from tests.cli.command import Command


@pytest.fixture
def run(quiet: None, database_url: str) -> Command:
    """Commands on a database of the test's own."""
    return Command(database_url)
