"""``POST /api/v1/token/introspect`` (RFC 7662)."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import timedelta
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp.jose.access_token import LEEWAY
from agentidp.jose.jwk import public_jwk
from agentidp.oauth import client_assertion
from agentidp.registry.credentials import add_credential
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.citus import COMPARES_STATEMENTS
from tests.conftest import Cast
from tests.factories import NOON, Agent, Clock, database_of, make_agent, usage_sums
from tests.wire import overheard

NOW = int(NOON.timestamp())
PATH = "/api/v1/token/introspect"
INACTIVE = {"active": False}
INVALID_CLIENT = {"error": "invalid_client", "error_description": "client authentication failed"}
RESOURCE = "https://billing.example/v2"


def basic(agent: Agent, client_secret: str | None = None) -> dict[str, str]:
    """Request headers with ``client_secret_basic``."""
    pair = f"{agent.client_id}:{client_secret or agent.client_secret}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def introspect(client: FlaskClient, agent: Agent, token: str, **form: str) -> TestResponse:
    """Ask as *agent* about a token."""
    return client.post(PATH, data={"token": token, **form}, headers=basic(agent))


def change(client: FlaskClient, operator: Agent, agent: Agent, **changes: Any) -> None:
    """Change *agent* through the registry."""
    path = f"/api/v1/agents/{agent.agent_id}"
    assert client.patch(path, json=changes, headers=operator.bearer()).status_code == 200


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
        "aud": "http://localhost:3000/api/v1",
        "iss": "http://localhost:3000",
        "jti": "its-name",
        "organization_id": shared_cast.acme.organization_id,
    }
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"


def test_shows_the_same_of_a_token_from_the_token_endpoint(shared_client: FlaskClient, shared_cast: Cast) -> None:
    form = {"grant_type": "client_credentials", "scope": "agents:read"}
    issued = shared_client.post("/api/v1/token", data=form, headers=basic(shared_cast.acme)).json["access_token"]
    response = introspect(shared_client, shared_cast.acme, issued)
    claims = jwt.decode(issued, options={"verify_signature": False})
    assert response.json == {"active": True, "token_type": "Bearer", **claims}


def test_shows_which_key_a_token_is_bound_to(shared_client: FlaskClient, shared_cast: Cast) -> None:
    response = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(jkt="a-thumbprint"))
    assert (response.json["token_type"], response.json["cnf"]) == ("DPoP", {"jkt": "a-thumbprint"})


def test_a_token_without_scope_has_none(shared_client: FlaskClient, shared_cast: Cast) -> None:
    response = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(scope=""))
    assert response.json["active"] is True
    assert "scope" not in response.json


def test_any_agent_of_the_organization_may_ask(client: FlaskClient, services: Services, cast: Cast) -> None:
    gateway = make_agent(services, cast.acme.organization_id, name="gateway", scopes=[])
    response = introspect(client, gateway, cast.acme.token())
    assert (response.json["active"], response.json["sub"]) == (True, cast.acme.client_id)


def test_another_organization_learns_nothing(shared_client: FlaskClient, shared_cast: Cast) -> None:
    token = shared_cast.acme.token()
    for text in (token, "not-a-token", shared_cast.acme.token(at=NOON - timedelta(days=1))):
        response = introspect(shared_client, shared_cast.outsider, text)
        assert (response.status_code, response.json) == (200, INACTIVE)
        assert response.headers["Cache-Control"] == "no-store"
    assert introspect(shared_client, shared_cast.acme, token).json["active"] is True
    assert introspect(shared_client, shared_cast.outsider, token).json == INACTIVE


def test_a_token_for_a_resource_server_is_good_while_that_is_registered(client: FlaskClient, cast: Cast) -> None:
    token = cast.acme.token(audience=RESOURCE, scope="invoices:read")
    assert introspect(client, cast.acme, token).json == INACTIVE
    register(client, cast.outsider, "https://outsiders.example")
    theirs = cast.acme.token(audience="https://outsiders.example", scope="invoices:read")
    assert introspect(client, cast.acme, theirs).json == INACTIVE, "only another organization has it"
    address = register(client, cast.acme)
    response = introspect(client, cast.acme, token)
    assert (response.json["active"], response.json["aud"]) == (True, RESOURCE)
    assert client.delete(address, headers=cast.acme.bearer()).status_code == 204
    assert introspect(client, cast.acme, token).json == INACTIVE


def test_our_own_api_refuses_a_token_for_a_resource_server_also_after_introspection(
    client: FlaskClient, cast: Cast
) -> None:
    register(client, cast.acme)
    token = cast.acme.token(audience=RESOURCE)
    assert introspect(client, cast.acme, token).json["active"] is True
    assert client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_is_inactive_while_its_agent_is_suspended(client: FlaskClient, services: Services, cast: Cast) -> None:
    builder = make_agent(services, cast.acme.organization_id, name="another")
    token = builder.token()
    seen = []
    for status in ("active", "suspended", "active"):
        change(client, cast.acme, builder, status=status)
        seen.append(introspect(client, cast.acme, token).json["active"])
    assert seen == [True, False, True]
    assert client.delete(f"/api/v1/agents/{builder.agent_id}", headers=cast.acme.bearer()).status_code == 204
    assert introspect(client, cast.acme, token).json == INACTIVE


def test_a_token_is_good_from_iat_to_exp_give_or_take_the_leeway(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    token = cast.acme.token(ttl=60)

    def active(seconds: float) -> bool:
        clock.now = NOON + timedelta(seconds=seconds)
        return bool(introspect(client, cast.acme, token).json["active"])

    end = 60 + LEEWAY
    expected = {-LEEWAY - 1: False, -LEEWAY: True, 0: True, end - 0.000001: True, end: False, end + 3600: False}
    assert {seconds: active(seconds) for seconds in expected} == expected


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", "\x00"])
def test_the_hint_changes_nothing(shared_client: FlaskClient, shared_cast: Cast, hint: str) -> None:
    response = introspect(shared_client, shared_cast.acme, shared_cast.acme.token(), token_type_hint=hint)
    assert response.json["active"] is True


@pytest.mark.parametrize("text", ["x", "x.y.z", "..", "\x00", "é", "' or '1'='1", "a" * 20_000, "eyJ.eyJ."])
def test_what_is_no_token_is_inactive(shared_client: FlaskClient, shared_cast: Cast, text: str) -> None:
    response = introspect(shared_client, shared_cast.acme, text)
    assert (response.status_code, response.json) == (200, INACTIVE)


class TestClientAuthentication:
    """As at the token endpoint."""

    def test_by_a_secret_in_the_body(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        acme = shared_cast.acme
        form = {"token": acme.token(), "client_id": acme.client_id, "client_secret": acme.client_secret}
        assert shared_client.post(PATH, data=form).json["active"] is True

    def test_by_a_key_and_once_only(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        key, acme = ec.generate_private_key(ec.SECP256R1()), cast.acme
        jwk = public_jwk(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())))
        with database_of(services, acme.organization_id).transaction() as opened:
            add_credential(opened, acme.agent_id, expires_at=None, jwks=[jwk])
        claims = {
            "iss": acme.client_id,
            "sub": acme.client_id,
            "aud": services.settings.issuer,
            "exp": NOW + 60,
            "jti": uuid.uuid4().hex,
        }
        form = {
            "token": acme.token(),
            "client_assertion_type": client_assertion.TYPE,
            "client_assertion": jwt.encode(claims, key, "ES256"),
        }
        first, second = client.post(PATH, data=form), client.post(PATH, data=form)
        assert (first.status_code, first.json["active"]) == (200, True)
        assert (second.status_code, second.json) == (401, INVALID_CLIENT)

    def test_every_failure_looks_the_same_and_is_counted(
        self, client: FlaskClient, services: Services, cast: Cast, database_url: str
    ) -> None:
        acme = cast.acme
        suspended = make_agent(services, acme.organization_id, name="suspended")
        change(client, acme, suspended, status="suspended")
        locked_out = make_agent(services, acme.organization_id, name="locked out")
        path = f"/api/v1/agents/{locked_out.agent_id}/credentials"
        [credential] = client.get(path, headers=acme.bearer()).json["data"]
        assert client.delete(f"{path}/{credential['credentialId']}", headers=acme.bearer()).status_code == 204
        with database_of(services, acme.organization_id).transaction() as opened:
            _, expired = add_credential(opened, acme.agent_id, expires_at=NOON)
        gone = make_agent(services, acme.organization_id, name="gone")
        assert client.delete(f"/api/v1/agents/{gone.agent_id}", headers=acme.bearer()).status_code == 204
        unknown = Agent(acme.organization_id, uuid.uuid4(), "a" * 43, services)
        before = usage_sums(database_url, acme.organization_id)
        seen = [
            client.post(PATH, data={"token": acme.token()}, headers=headers)
            for headers in (
                basic(acme, "wrong"),
                basic(acme, expired),
                basic(suspended),
                basic(locked_out),
                basic(gone),
                basic(unknown),
            )
        ]
        assert [(response.status_code, response.json) for response in seen] == [(401, INVALID_CLIENT)] * 6
        first = {name: value for name, value in seen[0].headers if name != "X-Request-Id"}
        assert first["WWW-Authenticate"].startswith("Basic ")
        assert all({n: v for n, v in response.headers if n != "X-Request-Id"} == first for response in seen)
        after = usage_sums(database_url, acme.organization_id)
        assert {name: n - before[name] for name, n in after.items() if n != before[name]} == {
            name: 5 for name in after if "rejected" in name
        }

    @pytest.mark.parametrize("scheme", ["Bearer", "DPoP"])
    def test_a_token_is_no_client_authentication(
        self, shared_client: FlaskClient, shared_cast: Cast, scheme: str
    ) -> None:
        token = shared_cast.acme.token()
        response = shared_client.post(PATH, data={"token": token}, headers={"Authorization": f"{scheme} {token}"})
        assert (response.status_code, response.json) == (401, INVALID_CLIENT)

    def test_without_any(self, shared_client: FlaskClient, shared_cast: Cast) -> None:
        response = shared_client.post(PATH, data={"token": shared_cast.acme.token()})
        assert (response.status_code, response.json) == (401, INVALID_CLIENT)

    def test_a_credential_that_only_introspects_is_seen_to_be_in_use(
        self, client: FlaskClient, cast: Cast, clock: Clock
    ) -> None:
        acme = cast.acme

        def last_used_at() -> str | None:
            path = f"/api/v1/agents/{acme.agent_id}/credentials"
            [credential] = client.get(path, headers=acme.bearer()).json["data"]
            return credential["lastUsedAt"]  # type: ignore[no-any-return]

        seen = [last_used_at()]
        for seconds in (0, 30, 31):
            clock.advance(seconds=seconds)
            introspect(client, acme, "x")
            seen.append(last_used_at())
        # At most once a minute, as for tokens.
        assert seen == [
            None,
            "2026-04-15T12:00:00.000000Z",
            "2026-04-15T12:00:00.000000Z",
            "2026-04-15T12:01:01.000000Z",
        ]


@pytest.mark.parametrize("path", [PATH, "/api/v1/token/revoke"])
class TestRequest:
    """What is no request of this kind is an ``invalid_request``, here and at the revocation endpoint."""

    @pytest.mark.parametrize(
        ("body", "description"),
        [
            ("", "token is missing"),
            ("token=", "token is missing"),
            ("token_type_hint=access_token", "token is missing"),
            ("token=x&token=y", "a parameter is repeated"),
            ("token=%ff", "the body is not a form in UTF-8"),
        ],
    )
    def test_with_a_bad_form(
        self, shared_client: FlaskClient, shared_cast: Cast, path: str, body: str, description: str
    ) -> None:
        headers = basic(shared_cast.acme) | {"Content-Type": "application/x-www-form-urlencoded"}
        response = shared_client.post(path, data=body, headers=headers)
        assert response.status_code == 400
        assert response.json == {"error": "invalid_request", "error_description": description}
        assert response.headers["Cache-Control"] == "no-store"

    def test_with_another_content_type(self, shared_client: FlaskClient, shared_cast: Cast, path: str) -> None:
        response = shared_client.post(path, json={"token": "x"}, headers=basic(shared_cast.acme))
        assert (response.status_code, response.json["error"]) == (400, "invalid_request")

    def test_with_the_token_in_the_address_only(self, shared_client: FlaskClient, shared_cast: Cast, path: str) -> None:
        response = shared_client.post(
            path, query_string={"token": "x"}, data={"y": "z"}, headers=basic(shared_cast.acme)
        )
        assert (response.status_code, response.json["error_description"]) == (400, "token is missing")

    def test_by_another_method(self, shared_client: FlaskClient, shared_cast: Cast, path: str) -> None:
        response = shared_client.get(path, headers=basic(shared_cast.acme))
        assert (response.status_code, response.json["error"]) == (405, "invalid_request")
        assert response.headers["Allow"] == "OPTIONS, POST"


@COMPARES_STATEMENTS
def test_is_one_round_trip(client: FlaskClient, services: Services, cast: Cast) -> None:
    token = cast.acme.token()
    introspect(client, cast.acme, token)
    with overheard(services.database) as conversation:
        introspect(client, cast.acme, token)
    assert conversation.statements == ["oauth/introspect_token"]
    assert conversation.round_trips == 1


def test_is_not_counted(client: FlaskClient, cast: Cast, database_url: str) -> None:
    introspect(client, cast.acme, cast.acme.token())
    introspect(client, cast.acme, cast.acme.token(at=NOON - timedelta(days=1)))
    assert set(usage_sums(database_url, cast.acme.organization_id).values()) == {0}


def test_is_in_the_metadata_with_revocation(shared_client: FlaskClient) -> None:
    metadata = shared_client.get("/.well-known/oauth-authorization-server").json
    for name, path in (("token", "token"), ("introspection", "token/introspect"), ("revocation", "token/revoke")):
        assert metadata[f"{name}_endpoint"] == f"http://localhost:3000/api/v1/{path}"
        methods = metadata[f"{name}_endpoint_auth_methods_supported"]
        assert methods == ["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"]
        algorithms = metadata[f"{name}_endpoint_auth_signing_alg_values_supported"]
        assert algorithms == list(client_assertion.ALGORITHMS)


def test_sees_a_revocation_that_another_server_has_made(client: FlaskClient, cast: Cast, database_url: str) -> None:
    token = cast.acme.token(jti="gone")
    assert introspect(client, cast.acme, token).json["active"] is True
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into revoked_tokens select %s, 'gone', 'infinity'", [cast.outsider.organization_id])
    assert introspect(client, cast.acme, token).json["active"] is True, "another organization's jti"
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into revoked_tokens select %s, 'gone', 'infinity'", [cast.acme.organization_id])
    assert introspect(client, cast.acme, token).json == INACTIVE
