"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.db.database import SERVICE_ROLE
from agentidp.jose.key_rotation import reencrypt_keys
from tests.conftest import settings_for
from tests.factories import SECRET_KEY, Clock, execute, wait_until

MISSING = "The database's schema is missing or out of date: run agentidp db migrate."


NO_KEY = "No token can be issued, because no signing key is usable. Run agentidp check with this server's settings."
OTHER_SECRET = SECRET_KEY.swapcase().encode()


@pytest.fixture
def client_with_another_secret(database_url: str) -> Iterator[FlaskClient]:
    """Return a client of a server whose instance secret decrypts no signing key of its database."""
    app = create_app(settings_for(database_url, secret_key=OTHER_SECRET), clock=Clock())
    yield app.test_client()
    app.extensions["agentidp"].close()


def ready(client: FlaskClient) -> tuple[int, str | None]:
    """Return the status and the message of /readyz."""
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
    # The role belongs to the whole server, so it exists since the template was created.
    assert execute(empty_database_url, "select 1 from pg_roles where rolname = %s", SERVICE_ROLE)
    if has_table:
        # The first migration grants the service its rights.
        execute(empty_database_url, "create table schema_migrations (name text)")
    app = create_app(settings_for(empty_database_url), clock=Clock())
    try:
        assert ready(app.test_client()) == (503, MISSING)
    finally:
        app.extensions["agentidp"].close()


def test_is_not_ready_with_a_wrong_instance_secret_until_a_key_appears_that_it_decrypts(
    client_with_another_secret: FlaskClient, client: FlaskClient, database_url: str
) -> None:
    assert ready(client_with_another_secret) == (503, NO_KEY)
    assert ready(client) == (200, None)
    both = settings_for(database_url, secret_key=OTHER_SECRET, secret_key_previous=SECRET_KEY.encode())
    reencrypt_keys(both, at=utc_now())
    wait_until(lambda: ready(client_with_another_secret) == (200, None))


def test_a_probe_reads_the_signing_keys_once_in_two_seconds_at_most(
    client_with_another_secret: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = client_with_another_secret.application.extensions["agentidp"].database
    statements: list[str] = []
    fetch_unscoped = database.fetch_unscoped
    monkeypatch.setattr(
        database, "fetch_unscoped", lambda statement: statements.append(statement) or fetch_unscoped(statement)
    )
    monkeypatch.setattr("agentidp.jose.signing_keys.RETRY_SECONDS", 1_000)
    assert {ready(client_with_another_secret)[0] for _ in range(3)} == {503}
    assert statements.count("signing_keys/all_keys") == 1
