"""Fixtures: the registry's tests share an application. Each test has two organizations and its own clock."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.conftest import Cast
from tests.factories import Agent, Api
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

NOT_FOUND = {"code": "NOT_FOUND", "message": "There is nothing at this address.", "details": {}}


@pytest.fixture
def acme(client: FlaskClient, cast: Cast) -> Api:
    """Acme's agent with every scope."""
    return Api(client, cast.acme)


@pytest.fixture
def outsider(client: FlaskClient, cast: Cast) -> Api:
    """The agent of another organization."""
    return Api(client, cast.outsider)


@pytest.fixture
def worker(cast: Cast) -> Agent:
    """Another agent of Acme."""
    return cast.acme.colleague("worker")
