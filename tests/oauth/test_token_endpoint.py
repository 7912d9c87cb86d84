"""``POST /api/v1/token``, to the letter of RFC 6749, RFC 7523, RFC 8707 and RFC 9700."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.config import Settings
from agentidp.http.parser import MAX_BODY
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH
from agentidp.jose.jwk import public_jwk
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.oauth import client_assertion, federated_token
from agentidp.oauth.client_assertion import CLIENT_LEEWAY, MAX_LENGTH, MAX_LIFETIME
from agentidp.oauth.client_form import MAX_PARAMETERS
from agentidp.registry.credentials import add_credential, end_credential
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.citus import WITHOUT_CITUS
from tests.conftest import ON_CITUS_TOO, Cast, settings_for
from tests.factories import NOON, Agent, Clock, database_of, make_agent, make_organization, usage_sums
from tests.oauth.roca import roca_key
from tests.routes import CLIENT_PATHS

PATH = "/api/v1/token"
NOW = int(NOON.timestamp())
TTL = Settings.token_ttl
ISSUER = "http://localhost:3000"
FORM = "application/x-www-form-urlencoded"
GRANT = {"grant_type": "client_credentials"}
COMMON = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
NOT_AT_THE_RESOURCE = (
    "the agent does not have every scope that was asked for at this resource; for this API's scopes, leave out resource"
)
NO_SCOPE_OF_OURS = (
    "a scope is not one of this API; for a scope of a resource server, send the parameter resource as well"
)

Whole = tuple[int, Any, dict[str, str]]
FAILED: Whole = (
    401,
    {"error": "invalid_client", "error_description": "client authentication failed"},
    {**COMMON, "WWW-Authenticate": 'Basic realm="agentidp", charset="UTF-8"'},
)
_numbers = itertools.count(1)


def refused(error: str, description: str, status: int = 400, **headers: str) -> Whole:
    """An error of RFC 6749 section 5.2, whole."""
    return status, {"error": error, "error_description": description}, {**COMMON, **headers}


def whole(response: TestResponse) -> Whole:
    """Everything of a response but the id of its request."""
    headers = {name: value for name, value in response.headers if name not in ("X-Request-Id", "Content-Length")}
    return response.status_code, response.json, headers


def basic(client_id: str, client_secret: str, scheme: str = "Basic") -> dict[str, str]:
    """The header of ``client_secret_basic``."""
    return {"Authorization": f"{scheme} {base64.b64encode(f'{client_id}:{client_secret}'.encode()).decode()}"}


def ask(client: FlaskClient, data: Any = GRANT, headers: Any = None, path: str = PATH, **more: Any) -> TestResponse:
    """A token request, each from an address of its own, so that no throttle mixes in."""
    address = f"10.0.{next(_numbers) // 250 % 250}.{next(_numbers) % 250 + 1}"
    more = {"content_type": FORM} | more
    return client.post(path, data=data, headers=headers, environ_base={"REMOTE_ADDR": address}, **more)


def ask_as(client: FlaskClient, agent: Agent, **form: str) -> TestResponse:
    """A token request that *agent* makes with its secret."""
    return ask(client, GRANT | form, basic(agent.client_id, agent.client_secret))


def claims_of(response: TestResponse) -> dict[str, Any]:
    """The claims of the token in an answer."""
    assert response.status_code == 200, response.json
    return jwt.decode(response.json["access_token"], options={"verify_signature": False})


@pytest.fixture
def agent(shared_app: Flask, shared_cast: Cast) -> Agent:
    """An agent of Acme that no other test has used."""
    services = shared_app.extensions["agentidp"]
    return make_agent(services, shared_cast.acme.organization_id, name=f"agent {next(_numbers)}")


@ON_CITUS_TOO
def test_the_answer_is_whole_and_not_stored(shared_client: FlaskClient, agent: Agent) -> None:
    response = ask_as(shared_client, agent)
    body = response.json
    token = body.pop("access_token")
    assert body == {
        "token_type": "Bearer",
        "expires_in": TTL,
        "scope": " ".join(SCOPES),
    }
    assert response.content_type == "application/json"
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": agent.client_id,
        "client_id": agent.client_id,
        "aud": f"{ISSUER}/api/v1",
        "exp": NOW + TTL,
        "iat": NOW,
        "organization_id": agent.organization_id,
        "scope": " ".join(SCOPES),
    }


class TestForm:
    """RFC 6749 section 3.2: how a request is written."""

    @pytest.mark.parametrize("name", ["grant_type", "scope", "client_id", "client_secret", "unknown"])
    def test_a_parameter_must_not_be_repeated(self, shared_client: FlaskClient, agent: Agent, name: str) -> None:
        form = [*GRANT.items(), ("client_id", agent.client_id), ("client_secret", agent.client_secret)]
        value = dict(form).get(name, "agents:read")
        body = urlencode([*(pair for pair in form if pair[0] != name), (name, value), (name, value)])
        assert whole(ask(shared_client, body)) == refused("invalid_request", "a parameter is repeated")

    def test_an_unknown_parameter_is_ignored(self, shared_client: FlaskClient, agent: Agent) -> None:
        assert ask_as(shared_client, agent, organization="org-x", unknown="é\x00").status_code == 200

    @pytest.mark.parametrize("name", ["scope", "resource", "client_secret", "client_assertion"])
    def test_a_parameter_without_a_value_counts_as_omitted(
        self, shared_client: FlaskClient, agent: Agent, name: str
    ) -> None:
        response = ask_as(shared_client, agent, **{name: ""})
        assert (response.status_code, response.json["scope"]) == (200, " ".join(agent.scopes))

    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencodedx", ""],
    )
    def test_the_body_must_be_a_form(self, shared_client: FlaskClient, agent: Agent, content_type: str) -> None:
        header = basic(agent.client_id, agent.client_secret)
        response = ask(shared_client, urlencode(GRANT), header, content_type=content_type)
        assert whole(response) == refused("invalid_request", f"the body must be {FORM}")

    @pytest.mark.parametrize("content_type", [FORM.upper(), f"{FORM}; charset=UTF-8", f"{FORM};charset=utf-8"])
    def test_the_content_type_may_be_written_in_any_way(
        self, shared_client: FlaskClient, agent: Agent, content_type: str
    ) -> None:
        header = basic(agent.client_id, agent.client_secret)
        assert ask(shared_client, urlencode(GRANT), header, content_type=content_type).status_code == 200

    @pytest.mark.parametrize(
        "body", [b"\xff", b"grant_type=%ff", b"&".join([b"a%d=1" % n for n in range(MAX_PARAMETERS + 1)])]
    )
    def test_the_form_must_be_utf_8_and_of_bounded_length(self, shared_client: FlaskClient, body: bytes) -> None:
        response = ask(shared_client, body)
        assert whole(response) == refused("invalid_request", "the body is not a form in UTF-8")

    @pytest.mark.parametrize("name", ["client_id", "client_secret", "client_assertion"])
    def test_no_credential_stands_in_the_url(self, shared_client: FlaskClient, agent: Agent, name: str) -> None:
        header = basic(agent.client_id, agent.client_secret)
        response = ask(shared_client, GRANT, header, path=f"{PATH}?{name}=x")
        assert whole(response) == refused("invalid_request", "client credentials must not be sent in the URL")

    def test_parameters_in_the_url_are_not_the_forms(self, shared_client: FlaskClient, agent: Agent) -> None:
        header = basic(agent.client_id, agent.client_secret)
        response = ask(shared_client, {}, header, path=f"{PATH}?grant_type=client_credentials")
        assert whole(response) == refused("invalid_request", "grant_type is missing")

    def test_the_grant_type_must_be_there(self, shared_client: FlaskClient) -> None:
        assert whole(ask(shared_client, b"")) == refused("invalid_request", "grant_type is missing")
        assert whole(ask(shared_client, b"grant_type=")) == refused("invalid_request", "grant_type is missing")

    @pytest.mark.parametrize(
        "grant_type",
        [
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:ietf:params:oauth:grant-type:saml2-bearer",
            "urn:ietf:params:oauth:grant-type:device_code",
            "authorization_code",
            "password",
            "refresh_token",
            "implicit",
            "CLIENT_CREDENTIALS",
            "client_credentials ",
            "\x00",
        ],
    )
    def test_no_other_grant_is_supported(self, shared_client: FlaskClient, agent: Agent, grant_type: str) -> None:
        response = ask_as(shared_client, agent, grant_type=grant_type)
        assert whole(response) == refused(
            "unsupported_grant_type",
            "only client_credentials and urn:ietf:params:oauth:grant-type:jwt-bearer are supported",
        )


class TestSecrets:
    """RFC 6749 section 2.3.1."""

    @pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
    def test_the_scheme_is_written_in_any_case(self, shared_client: FlaskClient, agent: Agent, scheme: str) -> None:
        assert ask(shared_client, GRANT, basic(agent.client_id, agent.client_secret, scheme)).status_code == 200

    def test_basic_credentials_are_form_encoded_before_they_are_joined(
        self, shared_client: FlaskClient, agent: Agent
    ) -> None:
        encoded = [
            "".join(f"%{ord(character):02X}" for character in text) for text in (agent.client_id, agent.client_secret)
        ]
        assert ask(shared_client, GRANT, basic(*encoded)).status_code == 200
        assert ask(shared_client, GRANT, basic(*(text.lower() for text in encoded))).status_code == 200

    @pytest.mark.parametrize(
        "credentials",
        [
            "",
            " ",
            "=",
            "Og==",
            "Og",
            "not base64!",
            base64.b64encode(b"no colon").decode(),
            base64.b64encode(b"\xff:\xff").decode(),
            base64.b64encode(b"%ff:%ff").decode(),
            base64.b64encode(b"\x00:\x00").decode(),
            base64.b64encode(b":" * 10_000).decode(),
        ],
    )
    def test_a_malformed_header_is_a_failed_authentication(self, shared_client: FlaskClient, credentials: str) -> None:
        assert whole(ask(shared_client, GRANT, {"Authorization": f"Basic {credentials}"})) == FAILED

    @pytest.mark.parametrize("header", ["Basic", "", "Bearer x", 'Digest username="x", realm="y"', "Negotiate x"])
    def test_no_other_scheme_authenticates_a_client(self, shared_client: FlaskClient, header: str) -> None:
        assert whole(ask(shared_client, GRANT, {"Authorization": header})) == FAILED

    def test_a_client_must_authenticate(self, shared_client: FlaskClient, agent: Agent) -> None:
        assert whole(ask(shared_client)) == FAILED
        assert whole(ask(shared_client, GRANT | {"client_id": agent.client_id})) == FAILED

    def test_all_that_fails_looks_the_same(
        self, shared_app: Flask, shared_client: FlaskClient, shared_cast: Cast, agent: Agent
    ) -> None:
        operator, services = shared_cast.acme.bearer(), shared_app.extensions["agentidp"]
        path = f"/api/v1/agents/{agent.client_id}"
        suspended = make_agent(services, agent.organization_id, name=f"agent {next(_numbers)}")
        deleted = make_agent(services, agent.organization_id, name=f"agent {next(_numbers)}")
        shared_client.patch(f"/api/v1/agents/{suspended.client_id}", json={"status": "suspended"}, headers=operator)
        shared_client.delete(f"/api/v1/agents/{deleted.client_id}", headers=operator)
        revoked = shared_client.post(f"{path}/credentials", headers=operator).json
        address = f"{path}/credentials/{revoked['credentialId']}"
        assert shared_client.delete(address, headers=operator).status_code == 204
        pairs = [
            (agent.client_id, "wrong"),
            (agent.client_id, agent.client_secret + "x"),
            (agent.client_id, shared_cast.outsider.client_secret),
            (agent.client_id, revoked["clientSecret"]),
            (agent.client_id.upper(), agent.client_secret),
            (f"{{{agent.client_id}}}", agent.client_secret),
            (f" {agent.client_id}", agent.client_secret),
            (suspended.client_id, suspended.client_secret),
            (deleted.client_id, deleted.client_secret),
            (str(uuid.uuid4()), agent.client_secret),
            ("00000000-0000-0000-0000-000000000000", agent.client_secret),
            ("nobody", agent.client_secret),
            ("", agent.client_secret),
            ("é", "é"),
        ]
        for client_id, client_secret in pairs:
            assert whole(ask(shared_client, GRANT, basic(client_id, client_secret))) == FAILED, client_id
            if client_id:
                form = GRANT | {"client_id": client_id, "client_secret": client_secret}
                assert whole(ask(shared_client, form)) == FAILED, client_id

    def test_a_credential_ends_when_it_expires(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        path = f"/api/v1/agents/{cast.acme.client_id}/credentials"
        expires_at = (NOON + timedelta(hours=1)).isoformat()
        made = client.post(path, json={"expiresAt": expires_at}, headers=cast.acme.bearer()).json
        header = basic(cast.acme.client_id, made["clientSecret"])
        clock.now = NOON + timedelta(hours=1, microseconds=-1)
        assert ask(client, GRANT, header).status_code == 200
        clock.now = NOON + timedelta(hours=1)
        assert whole(ask(client, GRANT, header)) == FAILED

    def test_a_client_uses_one_mechanism_only(self, shared_client: FlaskClient, agent: Agent) -> None:
        header = basic(agent.client_id, agent.client_secret)
        secret = {"client_id": agent.client_id, "client_secret": agent.client_secret}
        assertion = {"client_assertion_type": client_assertion.TYPE, "client_assertion": "x.y.z"}
        answer = refused("invalid_request", "the client uses more than one authentication mechanism")
        assert whole(ask(shared_client, GRANT | secret, header)) == answer
        assert whole(ask(shared_client, GRANT | assertion, header)) == answer
        assert whole(ask(shared_client, GRANT | secret | assertion)) == answer
        assert whole(ask(shared_client, GRANT | secret, {"Authorization": "Bearer x"})) == answer

    def test_the_client_id_in_the_form_must_be_that_of_the_header(
        self, shared_client: FlaskClient, agent: Agent
    ) -> None:
        assert ask_as(shared_client, agent, client_id=agent.client_id).status_code == 200
        response = ask_as(shared_client, agent, client_id=str(uuid.uuid4()))
        assert whole(response) == refused("invalid_request", "client_id differs from the Authorization header")

    def test_a_secret_needs_a_client_id(self, shared_client: FlaskClient, agent: Agent) -> None:
        response = ask(shared_client, GRANT | {"client_secret": agent.client_secret})
        assert whole(response) == refused("invalid_request", "client_id is missing")

    @pytest.mark.parametrize("second", ["Basic", "Bearer"])
    def test_two_authorization_headers_are_two_credentials(
        self, shared_client: FlaskClient, agent: Agent, second: str
    ) -> None:
        header = basic(agent.client_id, agent.client_secret)["Authorization"]
        headers = Headers([("Authorization", header), ("Authorization", f"{second} {header.split()[1]}")])
        response = ask(shared_client, GRANT, headers)
        assert whole(response) == refused("invalid_request", "there is more than one Authorization header")


class TestScope:
    """RFC 6749 section 3.3."""

    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            (None, " ".join(SCOPES)),
            ("agents:read", "agents:read"),
            ("agents:write analytics:read", "agents:write analytics:read"),
            ("agents:read agents:read", "agents:read"),
        ],
        ids=["all", "a part", "in the order asked", "each once"],
    )
    def test_grants_what_is_asked(
        self, shared_client: FlaskClient, agent: Agent, asked: str | None, granted: str
    ) -> None:
        response = ask_as(shared_client, agent, **({} if asked is None else {"scope": asked}))
        assert (response.json["scope"], claims_of(response)["scope"]) == (granted, granted)

    @ON_CITUS_TOO
    def test_refuses_what_the_agent_does_not_have_and_counts_nothing(
        self, client: FlaskClient, services: Services, cast: Cast, database_url: str
    ) -> None:
        answer = refused("invalid_scope", NO_SCOPE_OF_OURS)
        for scope in ("agents:read nothing", "Agents:read", "nothing", "*", "agents:read,agents:write"):
            assert whole(ask_as(client, cast.acme, scope=scope)) == answer, scope
        # Scopes of the API that others have.
        reader = make_agent(services, cast.acme.organization_id, "reader", scopes=["agents:read"])
        answer = refused("invalid_scope", "the agent does not have every scope that was asked for")
        for scope in ("agents:write", "agents:read agents:write"):
            assert whole(ask_as(client, reader, scope=scope)) == answer, scope
        assert claims_of(ask_as(client, reader, scope="agents:read"))["scope"] == "agents:read"
        assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 1

    @pytest.mark.parametrize(
        "scope",
        [
            'agents:read"',
            "agents\\read",
            " agents:read",
            "agents:read ",
            "agents:read  agents:write",
            "a\tb",
            "é",
            "\x7f",
            " ",
        ],
    )
    def test_refuses_characters_that_no_scope_has(self, shared_client: FlaskClient, agent: Agent, scope: str) -> None:
        answer = refused("invalid_scope", "scope has characters or blanks that it must not have")
        assert whole(ask_as(shared_client, agent, scope=scope)) == answer

    def test_an_agent_without_scopes_gets_a_token_without_scope(self, client: FlaskClient, services: Services) -> None:
        bare = make_agent(services, make_organization(services), scopes=[])
        response = ask_as(client, bare)
        assert "scope" not in response.json
        assert "scope" not in claims_of(response)


RESOURCE = "https://billing.example/v2"


def register(client: FlaskClient, operator: Agent, resource: str = RESOURCE) -> None:
    """Register a resource server with two scopes, of which the operator gets the first."""
    body = {"resource": resource, "name": "billing", "scopes": ["invoices:read", "invoices:write"]}
    assert client.post("/api/v1/resource-servers", json=body, headers=operator.bearer()).status_code == 201
    path = f"/api/v1/agents/{operator.client_id}"
    scopes = {"scopes": [*operator.scopes, "invoices:read"]}
    assert client.patch(path, json=scopes, headers=operator.bearer()).status_code == 200


class TestResource:
    """RFC 8707."""

    def test_a_registered_resource_becomes_the_audience(self, client: FlaskClient, cast: Cast) -> None:
        register(client, cast.acme)
        response = ask_as(client, cast.acme, resource=RESOURCE)
        claims = claims_of(response)
        assert (claims["aud"], claims["scope"], response.json["scope"]) == (RESOURCE, "invoices:read", "invoices:read")

    def test_our_own_api_is_the_audience_unless_told_otherwise(self, client: FlaskClient, cast: Cast) -> None:
        register(client, cast.acme)
        own = f"{ISSUER}/api/v1"
        for form in ({}, {"resource": own}, {"resource": ""}):
            claims = claims_of(ask_as(client, cast.acme, **form))
            assert (claims["aud"], claims["scope"]) == (own, " ".join(SCOPES))

    def test_a_scope_is_granted_for_the_resource_that_has_it(self, client: FlaskClient, cast: Cast) -> None:
        register(client, cast.acme)
        answer = refused("invalid_scope", NOT_AT_THE_RESOURCE)
        assert whole(ask_as(client, cast.acme, resource=RESOURCE, scope="agents:read")) == answer
        # The agent has it, and a message that says the contrary sends its operator to the wrong place.
        assert whole(ask_as(client, cast.acme, scope="invoices:read")) == refused("invalid_scope", NO_SCOPE_OF_OURS)
        # The resource server has it, and this agent has not.
        assert whole(ask_as(client, cast.acme, resource=RESOURCE, scope="invoices:write")) == answer

    def test_without_a_scope_all_that_the_agent_has_there_is_granted_in_the_agents_order(
        self, client: FlaskClient, services: Services, cast: Cast
    ) -> None:
        register(client, cast.acme)
        scopes = ["invoices:write", "agents:read", "invoices:read"]
        writer = make_agent(services, cast.acme.organization_id, "writer", scopes=scopes)
        assert ask_as(client, writer, resource=RESOURCE).json["scope"] == "invoices:write invoices:read"

    def test_our_own_api_refuses_a_token_for_another_resource(self, client: FlaskClient, cast: Cast) -> None:
        register(client, cast.acme)
        token = ask_as(client, cast.acme, resource=RESOURCE).json["access_token"]
        response = client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.json["code"]) == (401, "UNAUTHORIZED")
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]

    def test_an_unknown_or_foreign_resource_is_no_target_and_counts_nothing(
        self, client: FlaskClient, cast: Cast, database_url: str
    ) -> None:
        register(client, cast.acme)
        register(client, cast.outsider, "https://outsiders.example")
        before = usage_sums(database_url, cast.acme.organization_id)
        answer = refused("invalid_target", "resource is not a resource server whose identifier the organization holds")
        for resource in (
            "https://unknown.example",
            "https://outsiders.example",
            RESOURCE + "/",
            RESOURCE.upper(),
            f"{ISSUER}/api/v1/",
            ISSUER,
        ):
            assert whole(ask_as(client, cast.acme, resource=resource)) == answer, resource
        assert usage_sums(database_url, cast.acme.organization_id) == before

    @pytest.mark.parametrize(
        "resource",
        [
            "billing",
            "/v2",
            "//billing.example",
            f"{RESOURCE}#part",
            "https://",
            "https://é.example",
            "\x00",
            "x" * (MAX_RESOURCE_LENGTH + 1),
        ],
    )
    def test_a_malformed_resource_is_no_target(self, shared_client: FlaskClient, agent: Agent, resource: str) -> None:
        answer = refused("invalid_target", "resource must be an absolute URI without fragment")
        assert whole(ask_as(shared_client, agent, resource=resource)) == answer

    def test_a_token_has_one_target_only(self, client: FlaskClient, cast: Cast) -> None:
        register(client, cast.acme)
        for second in (RESOURCE, f"{ISSUER}/api/v1"):
            body = urlencode([*GRANT.items(), ("resource", RESOURCE), ("resource", second)])
            response = ask(client, body, basic(cast.acme.client_id, cast.acme.client_secret))
            assert whole(response) == refused("invalid_target", "resource must name one resource server only")


def test_an_agent_that_must_bind_its_tokens_gets_none_without_a_proof(
    client: FlaskClient, cast: Cast, database_url: str
) -> None:
    path = f"/api/v1/agents/{cast.acme.client_id}"
    client.patch(path, json={"dpopBoundAccessTokens": True}, headers=cast.acme.bearer())
    before = usage_sums(database_url, cast.acme.organization_id)
    answer = refused("invalid_dpop_proof", "the agent must bind its tokens to a key: send a DPoP proof")
    assert whole(ask_as(client, cast.acme)) == answer
    assert usage_sums(database_url, cast.acme.organization_id) == before


class TestEveryAnswerIsNotStored:
    """RFC 6749 section 5.1, RFC 9700; the answers of test_errors.py at all three endpoints."""

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_405(self, shared_client: FlaskClient, path: str, method: str) -> None:
        answer = refused("invalid_request", "This address takes only OPTIONS, POST.", 405, Allow="OPTIONS, POST")
        assert whole(shared_client.open(path, method=method)) == answer

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_413(self, shared_client: FlaskClient, path: str) -> None:
        response = ask(shared_client, b"x=" + b"y" * MAX_BODY, path=path)
        assert whole(response) == refused("invalid_request", "The request body is too large.", 413)

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_another_content_type(self, shared_client: FlaskClient, path: str) -> None:
        response = ask(shared_client, b"{}", path=path, content_type="application/json")
        assert whole(response) == refused("invalid_request", f"the body must be {FORM}")

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_401(self, shared_client: FlaskClient, path: str) -> None:
        assert whole(ask(shared_client, GRANT | {"token": "x"}, path=path)) == FAILED

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_500(self, client: FlaskClient, cast: Cast, database_url: str, path: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("drop table credentials cascade")
        form = GRANT | {"token": "x"}
        response = ask(client, form, basic(cast.acme.client_id, cast.acme.client_secret), path=path)
        assert whole(response) == refused("server_error", "The server met an unexpected condition.", 500)

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_503(self, clock: Clock, path: str) -> None:
        app = create_app(settings_for("postgresql://127.0.0.1:1/nowhere", pool_timeout=0.2), clock=clock)
        with closing(app.extensions["agentidp"]):
            response = ask(app.test_client(), GRANT | {"token": "x"}, basic(str(uuid.uuid4()), "x"), path=path)
        description = "The service is temporarily unavailable; try again."
        answer = refused("temporarily_unavailable", description, 503, **{"Retry-After": "1"})
        assert whole(response) == answer


KEYS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def jwk_of(key: Any, alg: str, /, **members: str) -> dict[str, Any]:
    """The public JWK of a private key."""
    algorithm = jwt.get_algorithm_by_name(alg)
    return {**json.loads(algorithm.to_jwk(key.public_key())), **members}


@dataclass
class KeyHolder:
    """An agent whose credential is a key."""

    agent: Agent
    key: Any
    alg: str = "ES256"

    @classmethod
    def make(cls, services: Services, agent: Agent, alg: str = "ES256", kid: str | None = "mine") -> KeyHolder:
        """Register a new key of *agent*."""
        key = KEYS[alg]()
        jwk = public_jwk(jwk_of(key, alg, alg=alg) | ({} if kid is None else {"kid": kid}))
        with database_of(services, agent.organization_id).transaction() as opened:
            add_credential(opened, agent.agent_id, expires_at=None, jwks=[jwk])
        return cls(agent, key, alg)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of an assertion that is accepted, with *changes*; ``None`` leaves a claim out."""
        claims = {
            "iss": self.agent.client_id,
            "sub": self.agent.client_id,
            "aud": ISSUER,
            "iat": NOW,
            "exp": NOW + 60,
            "jti": uuid.uuid4().hex,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def form(self, text: str | None = None, **changes: Any) -> dict[str, str]:
        """The form of a token request with an assertion."""
        text = text or jwt.encode(self.claims(**changes), self.key, self.alg, headers={"kid": "mine"})
        return GRANT | {"client_assertion_type": client_assertion.TYPE, "client_assertion": text}


@pytest.fixture
def holder(shared_app: Flask, agent: Agent) -> KeyHolder:
    """An agent with an ES256 key."""
    return KeyHolder.make(shared_app.extensions["agentidp"], agent)


@pytest.mark.parametrize("audience", ["https://billing.example/v2", f"{ISSUER}/api/v1", "x"])
@pytest.mark.parametrize("resource", ["", f"{ISSUER}/api/v1"])
def test_the_parameter_of_other_servers_is_refused(
    shared_client: FlaskClient, agent: Agent, audience: str, resource: str
) -> None:
    """Auth0's. A token for our own API is not what its sender wants."""
    sent = GRANT | {"client_id": agent.client_id, "client_secret": agent.client_secret, "resource": resource}
    assert whole(ask(shared_client, sent | {"audience": audience})) == refused(
        "invalid_target", "audience is not supported: name the resource server by the parameter resource (RFC 8707)"
    )
    assert ask(shared_client, sent | {"audience": ""}).status_code == 200


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why authentications were rejected, in the words of the log."""
    return [record.fields["reason"] for record in caplog.records if record.getMessage() == "authentication rejected"]


class TestPrivateKeyJwt:
    """RFC 7523 sections 2.2 and 3, with the audience of draft-ietf-oauth-rfc7523bis."""

    @pytest.mark.parametrize("alg", KEYS)
    @pytest.mark.parametrize("kid", ["mine", None])
    def test_a_key_authenticates(self, shared_app: Flask, agent: Agent, alg: str, kid: str | None) -> None:
        holder = KeyHolder.make(shared_app.extensions["agentidp"], agent, alg, kid)
        claims = claims_of(ask(shared_app.test_client(), holder.form()))
        assert (claims["sub"], claims["scope"]) == (agent.client_id, " ".join(agent.scopes))

    @pytest.mark.parametrize(("bound", "other"), [("RS256", "PS256"), ("PS256", "RS256"), (None, "PS256")])
    def test_a_key_is_for_one_algorithm(
        self, shared_client: FlaskClient, agent: Agent, bound: str | None, other: str
    ) -> None:
        """RFC 8725 section 3.1. A key that does not say which is for RS256."""
        key = KEYS["RS256"]()
        jwk = jwk_of(key, "RS256") | ({} if bound is None else {"alg": bound})
        path = f"/api/v1/agents/{agent.client_id}/credentials"
        made = shared_client.post(path, json={"jwk": jwk}, headers=agent.bearer())
        assert made.json["jwks"]["keys"][0]["alg"] == (bound or "RS256")
        assert whole(ask(shared_client, KeyHolder(agent, key, other).form())) == FAILED
        assert ask(shared_client, KeyHolder(agent, key, bound or "RS256").form()).status_code == 200

    @pytest.mark.parametrize("weakness", ["key_ops", "roca", "exponent"])
    def test_a_key_that_was_registered_before_a_rule_keeps_working(
        self, shared_app: Flask, agent: Agent, weakness: str
    ) -> None:
        key = {
            "key_ops": KEYS["RS256"],
            "roca": roca_key,
            "exponent": lambda: rsa.generate_private_key(3, 2048),
        }[weakness]()
        jwk = jwk_of(key, "RS256", alg="RS256") | ({"key_ops": ["encrypt"]} if weakness == "key_ops" else {})
        services = shared_app.extensions["agentidp"]
        with database_of(services, agent.organization_id).transaction() as opened:
            add_credential(opened, agent.agent_id, expires_at=None, jwks=[jwk])
        assert ask(shared_app.test_client(), KeyHolder(agent, key, "RS256").form()).status_code == 200

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": [ISSUER]},
            {"iat": None},
            {"iat": NOW + CLIENT_LEEWAY},
            {"nbf": NOW + CLIENT_LEEWAY},
            {"exp": NOW - CLIENT_LEEWAY + 1},
            {"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY},
            {"exp": NOW + 60.5},
            {"jti": "x" * MAX_JTI_LENGTH},
            {"jti": "é\x00"},
        ],
        ids=str,
    )
    def test_takes_what_the_rfc_allows(
        self, shared_client: FlaskClient, holder: KeyHolder, changes: dict[str, Any]
    ) -> None:
        assert ask(shared_client, holder.form(**changes)).status_code == 200

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": f"{ISSUER}{PATH}"},
            {"aud": f"{ISSUER}/"},
            {"aud": f"{ISSUER}/api/v1"},
            {"aud": [ISSUER, f"{ISSUER}{PATH}"]},
            {"aud": [ISSUER, ISSUER]},
            {"aud": []},
            {"aud": {"iss": ISSUER}},
            {"aud": None},
            {"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1},
            {"exp": NOW - CLIENT_LEEWAY},
            {"exp": NOW - 3600},
            {"exp": str(NOW + 60)},
            {"exp": 10**30},
            {"exp": True},
            {"exp": float("nan")},
            {"exp": float("inf")},
            {"exp": -1},
            {"exp": None},
            {"iat": NOW + CLIENT_LEEWAY + 1},
            {"iat": str(NOW)},
            {"nbf": NOW + CLIENT_LEEWAY + 1},
            {"nbf": "now"},
            {"jti": None},
            {"jti": ""},
            {"jti": "x" * (MAX_JTI_LENGTH + 1)},
            {"jti": 7},
        ],
        ids=str,
    )
    def test_refuses_what_it_does_not(
        self, shared_client: FlaskClient, holder: KeyHolder, changes: dict[str, Any]
    ) -> None:
        assert whole(ask(shared_client, holder.form(**changes))) == FAILED

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"aud": f"{ISSUER}{PATH}"}, "wrong audience"),
            ({"aud": "https://elsewhere.example"}, "wrong audience"),
            ({"aud": None}, "wrong audience"),
            ({"jti": None}, "wrong jti"),
            ({"exp": NOW - CLIENT_LEEWAY}, "assertion expired"),
            ({"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1}, "assertion valid for too long"),
            ({"iat": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
            ({"nbf": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
            ({"exp": None}, "wrong times"),
            ({"exp": "soon"}, "wrong times"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("is_remembered", [False, True])
    def test_the_operator_learns_what_is_wrong_and_the_client_does_not(
        self,
        shared_app: Flask,
        shared_client: FlaskClient,
        holder: KeyHolder,
        caplog: pytest.LogCaptureFixture,
        changes: dict[str, Any],
        reason: str,
        is_remembered: bool,
    ) -> None:
        if is_remembered:
            assert ask(shared_client, holder.form()).status_code == 200
        assert whole(ask(shared_client, holder.form(**changes))) == FAILED
        assert reasons(caplog) == [reason]
        # The finding of the dashboard and the metrics have it from here.
        with psycopg.connect(str(shared_app.extensions["agentidp"].settings.database_url)) as connection:
            connection.execute(
                "select set_config('agentidp.organization_id', %s, false)", [holder.agent.organization_id]
            )
            stored = connection.execute(
                "select reason, rejections from rejected_networks where agent_id = %s", [holder.agent.agent_id]
            ).fetchall()
        assert stored == [(reason, 1)]

    def test_the_operator_learns_of_keys_and_replays(
        self, shared_app: Flask, shared_client: FlaskClient, holder: KeyHolder, caplog: pytest.LogCaptureFixture
    ) -> None:
        services = shared_app.extensions["agentidp"]
        used = holder.form()
        assert ask(shared_client, used).status_code == 200
        other = KEYS["ES256"]()
        for form in (
            used,
            holder.form(jwt.encode(holder.claims(), other, "ES256", {"kid": "mine"})),
            # The signature comes first: nobody learns by the log of others what they have not signed.
            holder.form(jwt.encode(holder.claims(aud="x"), other, "ES256", {"kid": "mine"})),
            holder.form(jwt.encode(holder.claims(), holder.key, "ES256", {"kid": "yours"})),
        ):
            assert whole(ask(shared_client, form)) == FAILED
        [row] = [
            row
            for row in database_of(services, holder.agent.organization_id).fetch(
                "agents/list_credentials", agent_id=holder.agent.agent_id
            )
            if row.jwks
        ]
        with database_of(services, holder.agent.organization_id).transaction() as opened:
            end_credential(opened, holder.agent.agent_id, row.credential_id)
        assert whole(ask(shared_client, holder.form())) == FAILED
        assert reasons(caplog) == [
            "assertion used before",
            "wrong signature",
            "wrong signature",
            "unknown key",
            "revoked or expired key",
        ]

    @pytest.mark.parametrize("path", CLIENT_PATHS)
    def test_a_setting_allows_the_token_endpoint_as_audience(
        self, shared_app: Flask, holder: KeyHolder, path: str
    ) -> None:
        services = shared_app.extensions["agentidp"]
        settings = replace(services.settings, assertion_audience="issuer-or-token-endpoint")
        app = create_app(settings, clock=services.clock)
        client = app.test_client()
        for audience, status in (
            (f"{ISSUER}{PATH}", 200),
            ([f"{ISSUER}{PATH}"], 200),
            (ISSUER, 200),
            (f"{ISSUER}{PATH}/", 401),
            ([ISSUER, f"{ISSUER}{PATH}"], 401),
            ("https://elsewhere.example/api/v1/token", 401),
        ):
            form = holder.form(aud=audience) | {"token": "x"}
            assert client.post(path, data=form).status_code == status, audience
        app.extensions["agentidp"].close()

    def test_refuses_other_signatures(
        self, shared_app: Flask, shared_client: FlaskClient, shared_cast: Cast, holder: KeyHolder
    ) -> None:
        services, claims = shared_app.extensions["agentidp"], holder.claims()
        colleague = make_agent(services, holder.agent.organization_id, name=f"agent {next(_numbers)}")
        good = jwt.encode(claims, holder.key, "ES256")
        others = {
            "another key": jwt.encode(claims, KEYS["ES256"](), "ES256", {"kid": "mine"}),
            "another algorithm": jwt.encode(claims, KEYS["RS256"](), "RS256", {"kid": "mine"}),
            "a kid that is not found": jwt.encode(claims, holder.key, "ES256", {"kid": "yours"}),
            "the key of another agent": jwt.encode(claims, KeyHolder.make(services, colleague).key, "ES256"),
            "the key of another organization": jwt.encode(
                claims, KeyHolder.make(services, shared_cast.outsider).key, "ES256"
            ),
            "none": jwt.encode(claims, None, "none"),
            "None": _hand_made({"alg": "None"}, claims, b""),
            "no alg": _hand_made({}, claims, b"x"),
            "an alg that is no string": _hand_made({"alg": ["ES256"]}, claims, b"x"),
            "an embedded key": _embedding_its_key(claims),
            "a critical extension": jwt.encode(claims, holder.key, "ES256", {"crit": ["x"], "x": 1}),
            "padding": good + "==",
            "three dots": good + ".",
            "too long": jwt.encode(claims | {"padding": "x" * MAX_LENGTH}, holder.key, "ES256"),
            "no JWT": "x",
            "no JSON": "eyJ.eyJ.eyJ",
            "claims in a list": _signed({"alg": "ES256"}, [claims], holder.key),
            "a header that is no object": _signed(["ES256"], claims, holder.key),
            "a kid that is no string": _signed({"alg": "ES256", "kid": 7}, claims, holder.key),
            "claims that are not encoded": _signed({"alg": "ES256", "b64": False}, claims, holder.key),
            # The last of 86 characters has four bits that no encoder sets.
            "another encoding": f"{good[:-1]}{chr(ord(good[-1]) + 1)}",
        }
        public = holder.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        others["HS256 with the public key"] = _hand_made({"alg": "HS256", "kid": "mine"}, claims, None, public)
        for name, text in others.items():
            assert whole(ask(shared_client, holder.form(text))) == FAILED, name
        assert ask(shared_client, holder.form(good)).status_code == 200

    def test_what_is_not_the_clients_own_is_a_token_of_another_issuer(
        self, shared_client: FlaskClient, holder: KeyHolder
    ) -> None:
        """Which does not say whose it is."""
        changed = ({"iss": "somebody"}, {"iss": None}, {"sub": None})
        others = [holder.form(**changes)["client_assertion"] for changes in changed]
        others += [jwt.encode(holder.claims(), holder.key, "ES256", {"typ": "at+jwt"}), holder.agent.token()]
        for text in others:
            response = ask(shared_client, holder.form(text))
            assert (response.status_code, response.json["error"]) == (400, "invalid_request")
            assert whole(ask(shared_client, holder.form(text) | {"client_id": holder.agent.client_id})) == FAILED

    @ON_CITUS_TOO
    def test_an_assertion_is_accepted_once_also_in_another_process_and_after_a_restart(
        self, app: Flask, cast: Cast, database_url: str, services: Services, clock: Clock
    ) -> None:
        holder = KeyHolder.make(services, cast.acme)
        other = create_app(settings_for(database_url), clock=clock)
        with closing(other.extensions["agentidp"]):
            form = holder.form()
            assert ask(app.test_client(), form).status_code == 200
            assert whole(ask(app.test_client(), form)) == FAILED
            assert whole(ask(other.test_client(), form)) == FAILED
            # Another assertion with the same name is a replay, too.
            form = holder.form(jti="again")
            assert ask(other.test_client(), form).status_code == 200
            assert whole(ask(app.test_client(), holder.form(jti="again", exp=NOW + 120))) == FAILED
        restarted = create_app(settings_for(database_url), clock=clock)
        with closing(restarted.extensions["agentidp"]):
            assert whole(ask(restarted.test_client(), form)) == FAILED
            clock.now = NOON + timedelta(seconds=89)
            assert whole(ask(restarted.test_client(), form)) == FAILED
        assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 2

    def test_two_agents_may_use_the_same_jti(self, client: FlaskClient, services: Services, cast: Cast) -> None:
        for agent in (cast.acme, cast.outsider, make_agent(services, cast.acme.organization_id, name="third")):
            assert ask(client, KeyHolder.make(services, agent).form(jti="one")).status_code == 200

    def test_an_assertion_is_not_consumed_if_no_token_is_issued(
        self, client: FlaskClient, services: Services, cast: Cast, database_url: str
    ) -> None:
        holder = KeyHolder.make(services, cast.acme)
        before = usage_sums(database_url, cast.acme.organization_id)
        answer = refused("invalid_scope", NO_SCOPE_OF_OURS)
        assert whole(ask(client, holder.form() | {"scope": "nothing"})) == answer
        assert usage_sums(database_url, cast.acme.organization_id) == before

    def test_refuses_a_suspended_agent_and_an_ended_credential(
        self, client: FlaskClient, services: Services, cast: Cast, clock: Clock
    ) -> None:
        colleague = make_agent(services, cast.acme.organization_id, name="colleague")
        path, operator = f"/api/v1/agents/{colleague.client_id}", cast.acme.bearer()
        key = KEYS["ES256"]()
        body = {"jwk": jwk_of(key, "ES256"), "expiresAt": (NOON + timedelta(seconds=30)).isoformat()}
        assert client.post(f"{path}/credentials", json=body, headers=operator).status_code == 201
        holder = KeyHolder(colleague, key)

        def answer() -> int:
            text = jwt.encode(holder.claims(), key, "ES256")
            response = ask(client, holder.form(text))
            assert response.status_code == 200 or whole(response) == FAILED
            return response.status_code

        seen = [answer()]
        for status in ("suspended", "active"):
            client.patch(path, json={"status": status}, headers=operator)
            seen.append(answer())
        clock.now = NOON + timedelta(seconds=30)
        seen.append(answer())
        clock.now = NOON
        body.pop("expiresAt")
        address = client.post(f"{path}/credentials", json=body, headers=operator).headers["Location"]
        clock.now = NOON + timedelta(seconds=31)
        seen.append(answer())
        client.delete(address, headers=operator)
        seen.append(answer())
        assert seen == [200, 401, 200, 401, 200, 401]

    def test_the_form_must_fit_the_assertion(self, shared_client: FlaskClient, holder: KeyHolder) -> None:
        assert ask(shared_client, holder.form() | {"client_id": holder.agent.client_id}).status_code == 200
        answer = refused("invalid_request", "client_id differs from the client assertion")
        assert whole(ask(shared_client, holder.form() | {"client_id": str(uuid.uuid4())})) == answer
        answer = refused("invalid_request", "client_assertion is missing")
        assert whole(ask(shared_client, holder.form() | {"client_assertion": ""})) == answer
        types = f"{client_assertion.TYPE} or {federated_token.SPIFFE_TYPE}"
        answer = refused("invalid_request", f"client_assertion_type must be {types}")
        for kind in ("", "jwt-bearer", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"):
            assert whole(ask(shared_client, holder.form() | {"client_assertion_type": kind})) == answer

    def test_a_client_that_does_not_exist_fails_alike(self, shared_client: FlaskClient, holder: KeyHolder) -> None:
        for nobody in (str(uuid.uuid4()), "nobody", ""):
            assert whole(ask(shared_client, holder.form(iss=nobody, sub=nobody))) == FAILED

    def test_a_secret_is_no_key_and_a_key_no_secret(self, shared_client: FlaskClient, holder: KeyHolder) -> None:
        agent = holder.agent
        text = jwt.encode(holder.claims(), agent.client_secret, "HS256")
        assert whole(ask(shared_client, holder.form(text))) == FAILED
        digest = hashlib.sha256(json.dumps(jwk_of(holder.key, "ES256")).encode()).hexdigest()
        assert whole(ask(shared_client, GRANT, basic(agent.client_id, digest))) == FAILED

    @pytest.mark.parametrize("alg", KEYS)
    def test_a_private_key_cannot_be_registered(self, shared_client: FlaskClient, agent: Agent, alg: str) -> None:
        private = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(KEYS[alg]()))
        path = f"/api/v1/agents/{agent.client_id}/credentials"
        message = "must be a public key: it holds private members"
        for name, value in (("jwk", private), ("jwks", {"keys": [private]})):
            response = shared_client.post(path, json={name: value}, headers=agent.bearer())
            assert (response.status_code, response.json["details"]) == (400, {name: [message]})


def _part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _hand_made(header: Any, claims: Any, signature: bytes | None, secret: bytes = b"") -> str:
    """A JWT that no library makes; with an HMAC where no signature is given."""
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), 'sha256') if signature is None else signature)}"


def _signed(header: Any, claims: Any, key: ec.EllipticCurvePrivateKey) -> str:
    """A JWT that no library makes, with a good signature."""
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_part(jwt.get_algorithm_by_name('ES256').sign(signed.encode(), key))}"


def _embedding_its_key(claims: Any) -> str:
    key = KEYS["ES256"]()
    return jwt.encode(claims, key, "ES256", {"jwk": jwk_of(key, "ES256"), "kid": "mine"})


@WITHOUT_CITUS
@pytest.mark.parametrize(
    "call",
    [
        "issue_token(%s, %s, now(), current_date, 0, %s, null, null, null, null, '{}', null, false, true)",
        "introspect_token(%s, %s, now(), %s, null, null, null, null, null, null, '', true)",
    ],
)
def test_a_refused_client_costs_the_same_reads_whether_it_exists_or_not(
    cast: Cast, database_url: str, call: str
) -> None:
    """So the time does not tell which clients exist."""
    reads = []
    for agent_id in (cast.acme.client_id, "00000000-0000-4000-8000-000000000000"):
        with psycopg.connect(database_url) as connection:
            connection.execute(f"select * from {call}".encode(), [cast.acme.organization_id, agent_id, b"wrong"])
            reads.append(
                connection.execute(
                    "select relname, seq_scan + coalesce(idx_scan, 0) from pg_stat_xact_user_tables"
                    " where relname in ('organizations', 'agents', 'credentials') order by relname"
                ).fetchall()
            )
    assert reads[0] == reads[1] == [("agents", 1), ("credentials", 1), ("organizations", 1)]


@pytest.mark.parametrize(
    ("change", "is_authentic"),
    [
        ("update credentials set label = 'x' where organization_id = %s", True),
        ("update organizations set suspended_at = now() where organization_id = %s", False),
        ("update agents set status = 'suspended' where organization_id = %s", False),
        ("update agents set deleted_at = now() where organization_id = %s", False),
        ("update credentials set revoked_at = now() where organization_id = %s", False),
    ],
)
def test_the_functions_admit_those_whom_the_views_have(
    client: FlaskClient, cast: Cast, database_url: str, change: str, is_authentic: bool
) -> None:
    """They repeat the views' conditions (docs/decisions/database.md)."""
    organization_id = cast.acme.organization_id
    form = {"client_id": cast.acme.client_id, "client_secret": cast.acme.client_secret}
    token = client.post("/api/v1/token", data=form | {"grant_type": "client_credentials"}).get_json()["access_token"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(change.encode(), [organization_id])
        view = "select count(*) from client_credentials where organization_id = %s"
        assert connection.execute(view.encode(), [organization_id]).fetchall() == [(int(is_authentic),)]
        view = "select count(*) from active_agents where organization_id = %s"
        [(active,)] = connection.execute(view.encode(), [organization_id]).fetchall()
    answers = [
        client.post("/api/v1/token", data=form | {"grant_type": "client_credentials"}),
        client.post("/api/v1/token/introspect", data=form | {"token": token}),
        client.get("/api/v1/organization", headers={"Authorization": f"Bearer {token}"}),
    ]
    expected = [200 if is_authentic else 401] * 2 + [200 if active else 401]
    assert [answer.status_code for answer in answers] == expected
