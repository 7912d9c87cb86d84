"""Fixtures for rooms whose tests share an application in each module: a database of its own takes longer than a test.

Each test has two organizations and a clock of its own, and must look at nothing else. A module of such a room whose
tests look at the whole database imports the fixtures of ``tests/conftest.py`` again.
"""

from __future__ import annotations

import uuid
from ipaddress import IPv6Address

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp.services import Services
from tests.conftest import Cast, make_cast
from tests.factories import NOON, Agent, Clock, make_agent, make_organization


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The application that the tests of the module share."""
    return shared_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client with an address of its own, because failed authentications of a test must not throttle other tests."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = str(IPv6Address(uuid.uuid4().int))
    return client


@pytest.fixture
def clock(app: Flask) -> Clock:
    """The clock of the application, which shows noon."""
    clock: Clock = app.extensions["agentidp"].clock
    clock.now = NOON
    return clock


@pytest.fixture
def database_url(services: Services) -> str:
    """The URL of the shared database."""
    return str(services.settings.database_url)


@pytest.fixture
def cast(services: Services, clock: Clock) -> Cast:
    """An agent with every scope in each of two organizations."""
    return make_cast(services)


@pytest.fixture
def acme(services: Services) -> Agent:
    """An agent with every scope of a new organization, for a test that needs no second organization."""
    return make_agent(services, make_organization(services))
