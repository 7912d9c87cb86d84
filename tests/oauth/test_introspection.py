"""``POST /api/v1/token/introspect`` (RFC 7662)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from agentidp.jose.access_token import LEEWAY
from agentidp.oauth import client_assertion
from agentidp.scopes import SCOPES
from tests.conftest import Cast
from tests.factories import NOON, Agent, Clock
from tests.helpers.introspection import INACTIVE, PATH, introspect
from tests.oauth.clients import FAILED, ISSUER, NOW, USED_BEFORE, KeyHolder, ask, basic, change, refused, whole
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]

RESOURCE = "https://billing.example/v2"


def register(client: FlaskClient, operator: Agent, resource: str = RESOURCE) -> str:
    """Register a resource server; returns its address in the registry."""
    body = {"resource": resource, "name": "billing", "scopes": ["invoices:read"]}
    response = client.post("/api/v1/resource-servers", json=body, headers=operator.bearer())
    assert response.status_code == 201
    return response.headers["Location"]


def test_shows_all_that_a_good_token_says(shared_client: FlaskClient, shared_cast: Cast) -> None:
    response = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(jti="its-name", ttl=600))
    assert response.status_code == 200
    assert response.json == {
        "active": True,
        "scope": " ".join(sorted(SCOPES)),
        "client_id": shared_cast.acme.client_id,
        "token_type": "Bearer",
        "exp": NOW + 600,
        "iat": NOW,
        "sub": shared_cast.acme.client_id,
        "aud": f"{ISSUER}/api/v1",
        "iss": ISSUER,
        "jti": "its-name",
        "organization_id": shared_cast.acme.organization_id,
    }
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"


def test_shows_which_key_a_token_is_bound_to_and_no_scope_if_it_has_none(
    shared_client: FlaskClient, shared_cast: Cast
) -> None:
    claims = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(jkt="a-thumbprint", scope="")).json
    assert (claims["active"], claims["token_type"], claims["cnf"]) == (True, "DPoP", {"jkt": "a-thumbprint"})
    assert "scope" not in claims


def test_any_agent_of_the_organization_may_ask_and_it_is_not_counted(client: FlaskClient, cast: Cast) -> None:
    gateway = cast.acme.colleague("gateway", [])
    assert introspect(client, gateway, cast.acme.token()).json["sub"] == cast.acme.client_id
    assert introspect(client, gateway, cast.acme.token(at=NOON - timedelta(days=1))).json == INACTIVE
    assert set(cast.acme.sums().values()) == {0}


def test_another_organization_learns_nothing(shared_client: FlaskClient, shared_cast: Cast) -> None:
    token = shared_cast.acme.token()
    answers = [
        introspect(shared_client, shared_cast.outsider, text)
        for text in (token, "not-a-token", shared_cast.acme.token(at=NOON - timedelta(days=1)))
    ]
    assert introspect(shared_client, shared_cast.acme, token).json["active"] is True
    answers.append(introspect(shared_client, shared_cast.outsider, token))
    assert whole(answers[0])[:2] == (200, INACTIVE)
    assert all(whole(answer) == whole(answers[0]) for answer in answers)


def test_a_token_for_a_resource_server_is_good_while_that_is_registered(client: FlaskClient, cast: Cast) -> None:
    token = cast.acme.token(audience=RESOURCE, scope="invoices:read")
    assert introspect(client, cast.acme, token).json == INACTIVE
    register(client, cast.outsider, "https://outsiders.example")
    theirs = cast.acme.token(audience="https://outsiders.example", scope="invoices:read")
    assert introspect(client, cast.acme, theirs).json == INACTIVE
    address = register(client, cast.acme)
    response = introspect(client, cast.acme, token)
    assert (response.json["active"], response.json["aud"]) == (True, RESOURCE)
    # Our own API refuses it, also after introspection.
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert client.delete(address, headers=cast.acme.bearer()).status_code == 204
    assert introspect(client, cast.acme, token).json == INACTIVE


def test_a_token_is_inactive_while_its_agent_is_suspended(client: FlaskClient, cast: Cast) -> None:
    builder = cast.acme.colleague()
    token = builder.token()
    seen = []
    for status in ("active", "suspended", "active"):
        change(client, cast.acme, builder, status=status)
        seen.append(introspect(client, cast.acme, token).json["active"])
    assert seen == [True, False, True]
    assert client.delete(f"/api/v1/agents/{builder.agent_id}", headers=cast.acme.bearer()).status_code == 204
    assert introspect(client, cast.acme, token).json == INACTIVE


def test_a_token_is_active_until_exp_to_the_second(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    token = cast.acme.token(ttl=60)

    def active(seconds: float) -> bool:
        clock.now = NOON + timedelta(seconds=seconds)
        return bool(introspect(client, cast.acme, token).json["active"])

    expected = {-LEEWAY - 1: False, -LEEWAY: True, 0: True, 59.999_999: True, 60: False, 60 + LEEWAY: False}
    assert {seconds: active(seconds) for seconds in expected} == expected


def test_what_is_no_token_is_inactive_and_the_hint_changes_nothing(
    shared_client: FlaskClient, shared_cast: Cast
) -> None:
    for text in ("x", "x.y.z", "..", "\x00", "é", "' or '1'='1", "a" * 20_000, "eyJ.eyJ."):
        response = introspect(shared_client, shared_cast.acme, text)
        assert (response.status_code, response.json) == (200, INACTIVE), text
    for hint in ("access_token", "refresh_token", "nonsense", "\x00"):
        response = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(), token_type_hint=hint)
        assert response.json["active"] is True


class TestClientAuthentication:
    """As at the token endpoint."""

    def test_by_a_secret_in_the_body_or_by_a_key_which_is_accepted_once(self, client: FlaskClient, cast: Cast) -> None:
        token = {"token": cast.acme.token()}
        form = KeyHolder.make(cast.acme).form() | token
        for accepted in (cast.acme.form | token, form):
            response = ask(client, accepted, path=PATH)
            assert (response.status_code, response.json["active"]) == (200, True)
        assert whole(ask(client, form, path=PATH)) == USED_BEFORE

    def test_every_failure_looks_the_same_and_is_counted(self, client: FlaskClient, cast: Cast) -> None:
        token = cast.acme.token()
        for header in (
            basic(cast.acme.client_id, "wrong"),
            basic("nobody", cast.acme.client_secret),
        ):
            assert whole(ask(client, {"token": token}, header, PATH)) == FAILED
        # A token does not authenticate a client.
        for header in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"DPoP {token}"}, {}):
            response = ask(client, {"token": token}, header, PATH)
            assert (response.status_code, response.json["error"]) == (401, "invalid_client")
        sums = cast.acme.sums()
        assert sums == {name: 1 if "rejected" in name else 0 for name in sums}

    def test_a_credential_that_only_introspects_is_seen_to_be_in_use(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        acme, seen = cast.acme, []
        for seconds in (0, 30, 31):
            clock.advance(seconds=seconds)
            introspect(client, acme, "x")
            [credential] = client.get(f"/api/v1/agents/{acme.agent_id}/credentials", headers=acme.bearer()).json["data"]
            seen.append(credential["lastUsedAt"])
        # At most once a minute, as for tokens.
        assert seen == [f"2026-04-15T{time}.000000Z" for time in ("12:00:00", "12:00:00", "12:01:01")]


@pytest.mark.parametrize("path", [PATH, "/api/v1/token/revoke"])
def test_what_is_no_request_is_refused(shared_client: FlaskClient, shared_cast: Cast, path: str) -> None:
    header = basic(shared_cast.acme.client_id, shared_cast.acme.client_secret)
    for body, address, description in (
        ("", path, "token is missing"),
        ("token=", path, "token is missing"),
        ("token_type_hint=access_token", f"{path}?token=x", "token is missing"),
        ("token=x&token=y", path, "token is repeated"),
    ):
        assert whole(ask(shared_client, body, header, address)) == refused("invalid_request", description)


def test_is_in_the_metadata_with_revocation(shared_client: FlaskClient) -> None:
    metadata = shared_client.get("/.well-known/oauth-authorization-server").json
    for name, path in (("token", "token"), ("introspection", "token/introspect"), ("revocation", "token/revoke")):
        assert metadata[f"{name}_endpoint"] == f"{ISSUER}/api/v1/{path}"
        methods = metadata[f"{name}_endpoint_auth_methods_supported"]
        # A public client has only codes and refresh tokens.
        public = [] if name == "introspection" else ["none"]
        assert methods == ["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt", *public]
        algorithms = metadata[f"{name}_endpoint_auth_signing_alg_values_supported"]
        assert algorithms == list(client_assertion.ALGORITHMS)
