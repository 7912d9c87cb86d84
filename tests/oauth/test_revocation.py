"""``POST /api/v1/token/revoke`` (RFC 7009)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.jose.access_token import LEEWAY
from tests.citus import ADDS_A_TRIGGER, REFUSED_BY_CITUS
from tests.conftest import Cast
from tests.factories import NOON, Agent, Clock, execute
from tests.helpers.introspection import INACTIVE, introspect
from tests.helpers.revocation import PATH, revoke
from tests.oauth.clients import FAILED, ask, basic, change, commits_to, process, refused, whole
from tests.routes import REVOKED_TOKEN

NOT_ITS_OWN = refused("unauthorized_client", "the token was issued to another agent")


def use(client: FlaskClient, token: str) -> TestResponse:
    """Call our own API with a token."""
    return client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})


def is_good(client: FlaskClient, token: str, asker: Agent) -> bool:
    """Return whether a token is active at the API and at introspection, which must agree."""
    taken, said = use(client, token).status_code == 200, introspect(client, asker, token).json["active"]
    assert taken == said
    return taken


def revoked(database_url: str) -> list[tuple[Any, ...]]:
    """Return the revocations of all organizations."""
    return execute(database_url, "select organization_id, jti, expires_at from revoked_tokens order by 1, 2")


def assert_is_done(response: TestResponse) -> None:
    """Check that the response is 200, empty and not cached."""
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


def test_a_revoked_token_is_refused_with_the_next_request_and_counts_as_a_rejection(
    client: FlaskClient, cast: Cast
) -> None:
    token, other = cast.acme.token(), cast.acme.token()
    assert_is_done(revoke(client, cast.acme, token))
    # Revoking is not counted.
    assert set(cast.acme.sums().values()) == {0}
    response = use(client, token)
    assert (response.status_code, response.json) == (401, REVOKED_TOKEN)
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    sums = cast.acme.sums()
    assert sums == {name: 1 if "rejected" in name else 0 for name in sums}
    assert introspect(client, cast.acme, token).json == INACTIVE
    # The agent's other tokens stay active.
    assert is_good(client, other, cast.acme)


def test_every_worker_refuses_it_also_one_that_has_seen_it(
    client: FlaskClient, cast: Cast, database_url: str, clock: Clock
) -> None:
    token, fresh = cast.acme.token(), cast.acme.token()
    with process(database_url, clock) as other:
        assert is_good(other, token, cast.acme)
        assert_is_done(revoke(client, cast.acme, token))
        assert not is_good(other, token, cast.acme)
        assert_is_done(revoke(other, cast.acme, fresh))
    assert not is_good(client, fresh, cast.acme)


def test_twice_is_as_good_as_once_and_the_hint_changes_nothing(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    # The audience of the token need not be registered any more.
    token = cast.acme.token(audience="https://no-longer-registered.example", jti="its-name", ttl=600)
    for hint in ("access_token", "refresh_token", "nonsense"):
        assert_is_done(revoke(client, cast.acme, token, token_type_hint=hint))
    expires_at = NOON + timedelta(seconds=600 + 2 * LEEWAY)
    assert revoked(database_url) == [(cast.acme.organization_id, "its-name", expires_at)]


def test_what_no_server_takes_needs_no_revocation(
    client: FlaskClient, cast: Cast, clock: Clock, database_url: str
) -> None:
    token = cast.acme.token(ttl=60)
    clock.advance(seconds=60 + LEEWAY)
    for text in ("x", "x.y.z", "..", "\x00", "é", "a" * 20_000, token):
        assert_is_done(revoke(client, cast.acme, text))
    assert revoked(database_url) == []
    clock.advance(seconds=-1)
    assert_is_done(revoke(client, cast.acme, token))
    assert len(revoked(database_url)) == 1


def test_another_organizations_token_stays_as_it_is_and_nothing_is_learned(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    token = cast.acme.token()
    response, of_nothing = revoke(client, cast.outsider, token), revoke(client, cast.outsider, "x")
    assert_is_done(response)
    assert {*response.headers} - {*of_nothing.headers} == {("X-Request-Id", response.headers["X-Request-Id"])}
    assert revoked(database_url) == []
    assert is_good(client, token, cast.acme)


def test_a_jti_is_revoked_in_its_organization_only(client: FlaskClient, cast: Cast) -> None:
    ours, theirs = cast.acme.token(jti="the-same"), cast.outsider.token(jti="the-same")
    assert_is_done(revoke(client, cast.acme, ours))
    assert not is_good(client, ours, cast.acme)
    assert is_good(client, theirs, cast.outsider)


@pytest.mark.parametrize(
    ("scopes", "whose", "is_done"),
    [
        (["agents:write"], "another's", True),
        (["analytics:read", "agents:read"], "another's", False),
        ([], "its own", True),
    ],
)
def test_an_agent_that_may_change_agents_revokes_the_tokens_of_others(
    client: FlaskClient, cast: Cast, scopes: list[str], whose: str, is_done: bool
) -> None:
    """For any other agent, revoking another agent's token is an error (section 2.1)."""
    agent = cast.acme.colleague("it", scopes)
    token = (agent if whose == "its own" else cast.acme).token(scope="agents:read")
    response = revoke(client, agent, token)
    if is_done:
        assert_is_done(response)
    else:
        assert whole(response) == NOT_ITS_OWN
    assert is_good(client, token, cast.acme) is not is_done


def test_a_suspended_agents_token_stays_revoked_when_the_agent_comes_back(client: FlaskClient, cast: Cast) -> None:
    agent = cast.acme.colleague()
    token = agent.token()
    change(client, cast.acme, agent, status="suspended")
    assert_is_done(revoke(client, cast.acme, token))
    change(client, cast.acme, agent, status="active")
    assert not is_good(client, token, cast.acme)
    assert is_good(client, agent.token(), cast.acme)


def test_a_failed_authentication_revokes_nothing(client: FlaskClient, cast: Cast, database_url: str) -> None:
    token = cast.acme.token()
    assert whole(ask(client, {"token": token}, basic(cast.acme.client_id, "wrong"), PATH)) == FAILED
    assert revoked(database_url) == []
    assert is_good(client, token, cast.acme)


@ADDS_A_TRIGGER
def test_waits_for_the_disk(client: FlaskClient, cast: Cast, database_url: str) -> None:
    with commits_to(database_url, "revoked_tokens") as settings:
        revoke(client, cast.acme, cast.acme.token())
        assert settings() == {"on"}


def test_a_row_is_forgotten_once_no_server_takes_the_token(
    client: FlaskClient, cast: Cast, clock: Clock, database_url: str
) -> None:
    revoke(client, cast.acme, cast.acme.token(jti="old", ttl=60))
    revoke(client, cast.outsider, cast.outsider.token(jti="theirs", ttl=60))

    def kept_at(now: datetime, jti: str) -> list[str]:
        clock.now = now
        revoke(client, cast.acme, cast.acme.token(jti=jti))
        return sorted(row[1] for row in revoked(database_url))

    # A server whose clock is two leeways behind accepts the token until now.
    last = NOON + timedelta(seconds=60 + 2 * LEEWAY)
    assert kept_at(last, "a") == ["a", "old", "theirs"]
    # Only revocations of the same organization delete its expired rows.
    assert kept_at(last + timedelta(microseconds=1), "b") == ["a", "b", "theirs"]


@REFUSED_BY_CITUS
def test_does_not_wait_for_an_old_row_that_someone_else_is_forgetting(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    old = [cast.acme.organization_id, NOON - timedelta(seconds=1)]
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into revoked_tokens values (%s, 'old', %s)", old)
        connection.commit()
        connection.execute("select from revoked_tokens for update")
        # Otherwise the statement would time out, and two transactions with several rows could wait for each other.
        assert_is_done(revoke(client, cast.acme, cast.acme.token(jti="new")))
    assert [row[1] for row in revoked(database_url)] == ["new", "old"]
