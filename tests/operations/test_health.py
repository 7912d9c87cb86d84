"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.db.database import SERVICE_ROLE
from tests.conftest import settings_for
from tests.factories import Clock, execute

MISSING = "The database's schema is missing or out of date: run agentidp db migrate."


def ready(client: FlaskClient) -> tuple[int, str | None]:
    """The status of /readyz, and what it says is wrong."""
    response = client.get("/readyz")
    assert client.get("/healthz").status_code == 200
    return response.status_code, response.json.get("message")


def test_is_ready_with_its_schema_and_with_that_of_a_newer_release(client: FlaskClient, database_url: str) -> None:
    assert ready(client) == (200, None)
    execute(database_url, "insert into schema_migrations (name) values ('9999_later')")
    assert ready(client) == (200, None)


def test_is_not_ready_while_a_migration_is_pending(client: FlaskClient, database_url: str) -> None:
    execute(database_url, "delete from schema_migrations where name = (select max(name) from schema_migrations)")
    response = client.get("/readyz")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json == {"code": "SERVICE_UNAVAILABLE", "message": MISSING, "details": {}}


@pytest.mark.parametrize("has_table", [False, True])
def test_is_not_ready_without_a_schema(template: str, empty_database_url: str, has_table: bool) -> None:
    # The role belongs to the whole server, so there is one since the template was made.
    assert execute(empty_database_url, "select 1 from pg_roles where rolname = %s", SERVICE_ROLE)
    if has_table:
        # The first migration grants the service its rights.
        execute(empty_database_url, "create table schema_migrations (name text)")
    app = create_app(settings_for(empty_database_url), clock=Clock())
    try:
        assert ready(app.test_client()) == (503, MISSING)
    finally:
        app.extensions["agentidp"].close()
