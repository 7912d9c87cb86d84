"""``POST /api/v1/token/revoke`` (RFC 7009)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.jose.access_token import LEEWAY
from agentidp.services import Services
from tests.citus import ADDS_A_TRIGGER, REFUSED_BY_CITUS
from tests.conftest import Cast, settings_for
from tests.factories import NOON, Agent, Clock, make_agent, usage_sums
from tests.oauth.test_introspection import INACTIVE, basic, change, introspect
from tests.routes import INVALID_TOKEN

PATH = "/api/v1/token/revoke"


def revoke(client: FlaskClient, agent: Agent, token: str, **form: str) -> TestResponse:
    """Revoke a token as *agent*."""
    return client.post(PATH, data={"token": token, **form}, headers=basic(agent))


def use(client: FlaskClient, token: str) -> TestResponse:
    """Call our own API with a token."""
    return client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})


def is_good(client: FlaskClient, token: str, asker: Agent) -> bool:
    """Whether the API takes a token of *asker*'s organization and introspection says so; both must agree."""
    taken, said = use(client, token).status_code == 200, introspect(client, asker, token).json["active"]
    assert taken == said
    return taken


def revoked(database_url: str) -> list[tuple[Any, ...]]:
    """The rows of all organizations."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "select organization_id, jti, expires_at from revoked_tokens order by 1, 2"
        ).fetchall()


def assert_is_done(response: TestResponse) -> None:
    """200, empty, and not to be kept."""
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.fixture
def another_worker(database_url: str, clock: Clock) -> Iterator[Flask]:
    """A second application on the same database."""
    app = create_app(settings_for(database_url), clock=clock)
    yield app
    app.extensions["agentidp"].close()


def test_a_revoked_token_is_refused_with_the_next_request(client: FlaskClient, cast: Cast) -> None:
    token, other = cast.acme.token(), cast.acme.token()
    assert is_good(client, token, cast.acme)
    assert_is_done(revoke(client, cast.acme, token))
    response = use(client, token)
    assert (response.status_code, response.json) == (401, INVALID_TOKEN)
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert introspect(client, cast.acme, token).json == INACTIVE
    assert is_good(client, other, cast.acme), "the agent's other tokens go on"


def test_every_worker_refuses_it_also_one_that_has_seen_it(
    client: FlaskClient, another_worker: Flask, cast: Cast
) -> None:
    token, another_client = cast.acme.token(), another_worker.test_client()
    assert is_good(another_client, token, cast.acme)
    assert_is_done(revoke(client, cast.acme, token))
    assert not is_good(another_client, token, cast.acme)
    fresh = cast.acme.token()
    assert_is_done(revoke(another_client, cast.acme, fresh))
    assert not is_good(client, fresh, cast.acme)


def test_using_a_revoked_token_counts_as_a_rejection_of_its_agent(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    token = cast.acme.token()
    revoke(client, cast.acme, token)
    assert set(usage_sums(database_url, cast.acme.organization_id).values()) == {0}, "revoking is not counted"
    use(client, token)
    counted = usage_sums(database_url, cast.acme.organization_id)
    assert {name: n for name, n in counted.items() if n} == {name: 1 for name in counted if "rejected" in name}


def test_twice_is_as_good_as_once(client: FlaskClient, cast: Cast, database_url: str) -> None:
    token = cast.acme.token(jti="its-name", ttl=600)
    for _ in range(2):
        assert_is_done(revoke(client, cast.acme, token))
    expires_at = NOON + timedelta(seconds=600 + 2 * LEEWAY)
    assert revoked(database_url) == [(cast.acme.organization_id, "its-name", expires_at)]


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
def test_the_hint_changes_nothing(shared_client: FlaskClient, shared_cast: Cast, hint: str) -> None:
    token = shared_cast.acme.token()
    assert_is_done(revoke(shared_client, shared_cast.acme, token, token_type_hint=hint))
    assert not is_good(shared_client, token, shared_cast.acme)


def test_what_is_no_token_needs_no_revocation(client: FlaskClient, cast: Cast, database_url: str) -> None:
    for text in ("x", "x.y.z", "..", "\x00", "é", "a" * 20_000):
        assert_is_done(revoke(client, cast.acme, text))
    assert revoked(database_url) == []


def test_an_expired_token_needs_no_revocation(client: FlaskClient, cast: Cast, clock: Clock, database_url: str) -> None:
    token = cast.acme.token(ttl=60)
    clock.advance(seconds=60 + LEEWAY)
    assert_is_done(revoke(client, cast.acme, token))
    assert revoked(database_url) == []
    # Excluded above: one that some server may still take.
    clock.advance(seconds=-1)
    assert_is_done(revoke(client, cast.acme, token))
    assert len(revoked(database_url)) == 1


def test_another_organizations_token_stays_as_it_is_and_nothing_is_learned(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    token = cast.acme.token()
    response, of_nothing = revoke(client, cast.outsider, token), revoke(client, cast.outsider, "x")
    assert_is_done(response)
    told, nothing = (
        {name: value for name, value in each.headers if name != "X-Request-Id"} for each in (response, of_nothing)
    )
    assert told == nothing
    assert revoked(database_url) == []
    assert is_good(client, token, cast.acme)


def test_a_jti_is_revoked_in_its_organization_only(client: FlaskClient, cast: Cast) -> None:
    ours, theirs = cast.acme.token(jti="the-same"), cast.outsider.token(jti="the-same")
    assert_is_done(revoke(client, cast.acme, ours))
    assert not is_good(client, ours, cast.acme)
    assert is_good(client, theirs, cast.outsider)


class TestTokensOfOtherAgents:
    """An agent that may change agents may revoke their tokens; for others it is an error (section 2.1)."""

    def test_an_operator_revokes_them(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        reader = make_agent(services, cast.acme.organization_id, name="reader", scopes=["agents:read"])
        token = reader.token()
        assert is_good(client, token, cast.acme)
        assert_is_done(revoke(client, cast.acme, token))
        assert not is_good(client, token, cast.acme)

    def test_any_other_is_refused(self, client: FlaskClient, services: Services, cast: Cast, database_url: str) -> None:
        scopes = ["analytics:read", "agents:read"]
        reader = make_agent(services, cast.acme.organization_id, name="reader", scopes=scopes)
        token = cast.acme.token()
        response = revoke(client, reader, token)
        assert response.status_code == 400
        assert response.json == {
            "error": "unauthorized_client",
            "error_description": "the token was issued to another agent",
        }
        assert response.headers["Cache-Control"] == "no-store"
        assert revoked(database_url) == []
        assert is_good(client, token, cast.acme)

    def test_its_own_any_agent_revokes(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        agent = make_agent(services, cast.acme.organization_id, name="no scopes", scopes=[])
        token = agent.token(scope="agents:read")
        assert is_good(client, token, cast.acme)
        assert_is_done(revoke(client, agent, token))
        assert not is_good(client, token, cast.acme)

    def test_the_scopes_are_those_of_the_agent_now(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        operator = make_agent(services, cast.acme.organization_id, name="operator")
        change(client, cast.acme, operator, scopes=["agents:read"])
        assert revoke(client, operator, cast.acme.token()).json["error"] == "unauthorized_client"


def test_a_suspended_agents_token_stays_revoked_when_the_agent_comes_back(
    client: FlaskClient, services: Services, cast: Cast
) -> None:
    agent = make_agent(services, cast.acme.organization_id, name="suspect")
    token = agent.token()
    change(client, cast.acme, agent, status="suspended")
    assert_is_done(revoke(client, cast.acme, token))
    change(client, cast.acme, agent, status="active")
    assert not is_good(client, token, cast.acme)
    assert is_good(client, agent.token(), cast.acme)


def test_a_token_for_any_audience_can_be_revoked(client: FlaskClient, cast: Cast, database_url: str) -> None:
    token = cast.acme.token(audience="https://no-longer-registered.example", jti="its-name")
    assert_is_done(revoke(client, cast.acme, token))
    assert [row[1] for row in revoked(database_url)] == ["its-name"]


def test_a_failed_authentication_revokes_nothing(client: FlaskClient, cast: Cast, database_url: str) -> None:
    token = cast.acme.token()
    response = client.post(PATH, data={"token": token}, headers=basic(cast.acme, "wrong"))
    assert (response.status_code, response.json["error"]) == (401, "invalid_client")
    assert revoked(database_url) == []
    assert is_good(client, token, cast.acme)


@ADDS_A_TRIGGER
def test_waits_for_the_disk(client: FlaskClient, cast: Cast, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table seen (setting text)")
        connection.execute(
            "create function look() returns trigger language plpgsql security definer as $$ "
            "begin insert into seen values (current_setting('synchronous_commit')); return new; end $$"
        )
        connection.execute("create trigger look before insert on revoked_tokens for each row execute function look()")
    revoke(client, cast.acme, cast.acme.token())
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select setting from seen").fetchall() == [("on",)]


def test_a_row_is_forgotten_once_no_server_takes_the_token(
    client: FlaskClient, cast: Cast, clock: Clock, database_url: str
) -> None:
    revoke(client, cast.acme, cast.acme.token(jti="old", ttl=60))
    revoke(client, cast.outsider, cast.outsider.token(jti="theirs", ttl=60))

    def kept_at(now: datetime, jti: str) -> list[str]:
        clock.now = now
        revoke(client, cast.acme, cast.acme.token(jti=jti))
        return [row[1] for row in revoked(database_url)]

    # A server whose clock is two leeways behind this one's takes the token until here.
    last = NOON + timedelta(seconds=60 + 2 * LEEWAY)
    assert sorted(kept_at(last, "a")) == ["a", "old", "theirs"]
    # Another organization's rows are for its own revocations to forget.
    assert sorted(kept_at(last + timedelta(microseconds=1), "b")) == ["a", "b", "theirs"]


@REFUSED_BY_CITUS
def test_does_not_wait_for_an_old_row_that_someone_else_is_forgetting(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into revoked_tokens values (%s, 'old', %s)",
            [cast.acme.organization_id, NOON - timedelta(seconds=1)],
        )
        connection.commit()
        connection.execute("select from revoked_tokens for update")
        # Otherwise it would run out of time, and with several rows each way two could wait for each other.
        assert_is_done(revoke(client, cast.acme, cast.acme.token(jti="new")))
    assert [row[1] for row in revoked(database_url)] == ["new", "old"]
