"""Fixtures for the tests of ``agentidp.http``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from agentidp import create_app
from tests.conftest import _fresh_database, settings_for
from tests.factories import SECRET_KEY, Agent, Clock, Server, ServerWithoutLauncher, make_agent, make_organization


@contextmanager
def application(url: str, **settings: Any) -> Iterator[Flask]:
    app = create_app(settings_for(url, **settings), clock=Clock())
    yield app
    app.extensions["agentidp"].close()


@pytest.fixture(scope="module")
def dead_client() -> Iterator[FlaskClient]:
    """A client of an application whose database has never been reachable."""
    with application("postgresql://nobody@127.0.0.1:1/nothing", pool_timeout=0.1) as app:
        yield app.test_client()


@pytest.fixture(scope="module")
def document(shared_client: FlaskClient) -> dict[str, Any]:
    """The OpenAPI document that the application serves."""
    response = shared_client.get("/api/v1/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    openapi: dict[str, Any] = response.json
    return openapi


@pytest.fixture(scope="module")
def running(postgres_url: str, template: str) -> Iterator[tuple[Server, Agent]]:
    """A gunicorn with its log, and an agent."""
    with (
        contextmanager(_fresh_database)(postgres_url, template) as url,
        ServerWithoutLauncher(
            {"AGENTIDP_DATABASE_URL": url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "AGENTIDP_LOG_LEVEL": "DEBUG"}
        ) as server,
        application(url, issuer=server.url) as app,
    ):
        app.extensions["agentidp"].clock.now = None
        services = app.extensions["agentidp"]
        yield server, make_agent(services, make_organization(services))
