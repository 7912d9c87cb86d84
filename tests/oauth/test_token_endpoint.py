"""``POST /api/v1/token`` as RFC 6749, RFC 7523, RFC 8707 and RFC 9700 demand."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from agentidp.config import Settings
from agentidp.http.resource_identifier import MAX_RESOURCE_LENGTH
from agentidp.jose.assertion import CLIENT_LEEWAY, MAX_LENGTH
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.oauth import client_assertion, federated_token, issuance
from agentidp.oauth.client_assertion import MAX_LIFETIME
from agentidp.oauth.client_form import MAX_PARAMETERS
from agentidp.oauth.client_secret import new_secret
from agentidp.scopes import SCOPES
from tests.citus import WITHOUT_CITUS
from tests.conftest import ON_CITUS_TOO, Cast
from tests.factories import NOON, Agent, Clock, execute, make_agent
from tests.federation.issuer import Issuer
from tests.oauth.clients import (
    FAILED,
    FORM,
    GRANT,
    ISSUER,
    KEYS,
    NOW,
    PATH,
    USED_BEFORE,
    KeyHolder,
    ask,
    ask_as,
    basic,
    change,
    claims_of,
    failed,
    hand_made,
    jwk_of,
    numbers,
    process,
    reasons,
    refused,
    rejections,
    whole,
)

API = f"{ISSUER}/api/v1"
TTL = Settings.token_ttl
LEAVE_OUT_RESOURCE = (
    "the resource server does not have the scope agents:read; for a scope of this API, leave out the parameter resource"
)
SEND_RESOURCE = (
    "this API does not have the scope {}; for a scope of a resource server, send the parameter resource as well"
)


@pytest.fixture
def agent(shared_app: Flask, shared_cast: Cast) -> Agent:
    """An agent of Acme that no other test has used."""
    services = shared_app.extensions["agentidp"]
    return make_agent(services, shared_cast.acme.organization_id, name=f"agent {next(numbers)}")


@ON_CITUS_TOO
def test_the_answer_is_whole_and_not_stored(shared_client: FlaskClient, agent: Agent) -> None:
    response = ask_as(shared_client, agent)
    body = response.json
    token = body.pop("access_token")
    assert body == {"token_type": "Bearer", "expires_in": TTL, "scope": " ".join(SCOPES)}
    assert response.content_type == "application/json"
    assert (response.headers["Cache-Control"], response.headers["Pragma"]) == ("no-store", "no-cache")
    [jwk] = shared_client.get("/.well-known/jwks.json").json["keys"]
    # RFC 9068.
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256", "kid": jwk["kid"]}
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, jwt.PyJWK(jwk).key, algorithms=["ES256"], audience=API, options=options)
    assert len(claims.pop("jti")) >= 20
    assert claims == {
        "iss": ISSUER,
        "sub": agent.client_id,
        "client_id": agent.client_id,
        "aud": API,
        "exp": NOW + TTL,
        "iat": NOW,
        "organization_id": agent.organization_id,
        "scope": " ".join(SCOPES),
    }


PAIR = urlencode(GRANT)
ASSERTION = GRANT | {"client_assertion_type": client_assertion.TYPE}
NOT_A_FORM = ("invalid_request", f"the body must be {FORM}")
TWO_RESOURCES = ("invalid_target", "resource must name one resource server only")
NO_GRANT_TYPE = ("invalid_request", "grant_type is missing")
NOT_UTF_8 = ("invalid_request", "the body is not a form in UTF-8")
IN_URL = ("invalid_request", "client credentials must not be sent in the URL")
TWO_HEADERS = ("invalid_request", "there is more than one Authorization header")
TWO_MECHANISMS = ("invalid_request", "the client uses more than one authentication mechanism")
ASSERTION_TYPES = f"{client_assertion.TYPE} or {federated_token.SPIFFE_TYPE}"
BAD_TYPE = ("invalid_request", f"client_assertion_type must be {ASSERTION_TYPES}")
OTHER_GRANT = ("unsupported_grant_type", f"grant_type must be one of {', '.join(issuance.GRANT_TYPES)}")
BAD_SCOPE = ("invalid_scope", "scope has characters or blanks that it must not have")
BAD_RESOURCE = ("invalid_target", "resource must be an absolute URI without fragment")
NO_AUDIENCE = (
    "invalid_target",
    "audience is not supported: name the resource server by the parameter resource (RFC 8707)",
)
SAML = "urn:ietf:params:oauth:grant-type:saml2-bearer"
RESOURCES = ["billing", "/v2", "//billing.example", "https://billing.example/v2#part", "https://", "https://é.example"]


def sent(error: tuple[str, str], *bodies: Any, **more: Any) -> list[tuple[Any, dict[str, Any], tuple[str, str]]]:
    """Return test cases: requests, and the error that they get."""
    return [(body, more, error) for body in bodies]


REFUSED = [
    # The form in addition to the agent's secret in the header, and possibly another header.
    *(
        pair
        for name in ("grant_type", "scope", "client_id", "unknown")
        for pair in sent(("invalid_request", f"{name} is repeated"), f"{PAIR}&{name}=x&{name}=x")
    ),
    *sent(("invalid_request", "a parameter is repeated"), f'{PAIR}&"="&"="'),
    *sent(TWO_RESOURCES, f"{PAIR}&resource=https://a.example&resource={API}"),
    *sent(NOT_A_FORM, PAIR, content_type="application/json"),
    *sent(NOT_A_FORM, PAIR, content_type="multipart/form-data; boundary=x"),
    *sent(NOT_A_FORM, PAIR, content_type=f"{FORM}x"),
    *sent(NOT_A_FORM, PAIR, content_type=""),
    *sent(NOT_UTF_8, b"\xff", b"grant_type=%ff", b"a=1&" * MAX_PARAMETERS + b"a=1"),
    *sent(IN_URL, PAIR, path=f"{PATH}?client_id=x"),
    *sent(IN_URL, PAIR, path=f"{PATH}?client_secret=x"),
    *sent(IN_URL, PAIR, path=f"{PATH}?client_assertion=x"),
    *sent(NO_GRANT_TYPE, "", path=f"{PATH}?{PAIR}"),
    *sent(NO_GRANT_TYPE, "grant_type="),
    *sent(OTHER_GRANT, *({"grant_type": one} for one in (SAML, "CLIENT_CREDENTIALS", "client_credentials ", "\x00"))),
    *sent(BAD_SCOPE, *(GRANT | {"scope": f"a{character}"} for character in '"\\ \té\x7f')),
    *sent(BAD_SCOPE, *(GRANT | {"scope": scope} for scope in (" ", " a", "a  b"))),
    *sent(BAD_RESOURCE, *(GRANT | {"resource": resource} for resource in (*RESOURCES, "\x00"))),
    *sent(BAD_RESOURCE, GRANT | {"resource": "x" * (MAX_RESOURCE_LENGTH + 1)}),
    # Auth0's. A token for our own API is not what its sender wants.
    *sent(NO_AUDIENCE, GRANT | {"audience": "x"}, GRANT | {"audience": "x", "resource": API}),
    *sent(TWO_MECHANISMS, GRANT | {"client_secret": "x"}, ASSERTION | {"client_assertion": "x"}),
    *sent(TWO_MECHANISMS, ASSERTION | {"client_assertion": "x", "client_secret": "x"}, headers={}),
    *sent(TWO_MECHANISMS, GRANT | {"client_secret": "x"}, headers={"Authorization": "Bearer x"}),
    *sent(TWO_HEADERS, GRANT, headers=Headers([("Authorization", "Basic eDp5"), ("Authorization", "Basic eDp6")])),
    *sent(TWO_HEADERS, GRANT, headers=Headers([("Authorization", "Basic eDp5"), ("Authorization", "Bearer x")])),
    *sent(("invalid_request", "client_id differs from the Authorization header"), GRANT | {"client_id": "x"}),
    *sent(("invalid_request", "client_id is missing"), GRANT | {"client_secret": "x"}, headers={}),
    *sent(("invalid_request", "client_assertion is missing"), ASSERTION, headers={}),
    *sent(
        BAD_TYPE,
        *(GRANT | {"client_assertion": "x", "client_assertion_type": kind} for kind in ("", "jwt-bearer", SAML)),
        headers={},
    ),
]


@pytest.mark.parametrize(("data", "more", "error"), REFUSED, ids=lambda value: str(value)[:60])
def test_refuses_what_is_no_request(
    shared_client: FlaskClient, agent: Agent, data: Any, more: dict[str, Any], error: tuple[str, str]
) -> None:
    header = basic(agent.client_id, agent.client_secret)
    assert whole(ask(shared_client, data, **{"headers": header} | more)) == refused(*error)


@pytest.mark.parametrize(
    ("form", "more"),
    [
        *[({}, {"content_type": kind}) for kind in (FORM.upper(), f"{FORM}; charset=UTF-8", f"{FORM};charset=utf-8")],
        ({"organization": "org-x", "unknown": "é\x00"}, {}),
        # A parameter without a value counts as omitted.
        *[({name: ""}, {}) for name in ("scope", "resource", "audience", "client_secret", "client_assertion")],
    ],
    ids=str,
)
def test_takes_what_is_a_request(
    shared_client: FlaskClient, agent: Agent, form: dict[str, str], more: dict[str, str]
) -> None:
    response = ask(shared_client, urlencode(GRANT | form), basic(agent.client_id, agent.client_secret), **more)
    assert (response.status_code, response.json["scope"]) == (200, " ".join(SCOPES))


def encoded_64(text: bytes) -> str:
    return base64.b64encode(text).decode()


class TestSecrets:
    """RFC 6749 section 2.3.1."""

    @pytest.mark.parametrize("scheme", ["Basic", "basic", "bAsIc"])
    def test_basic_credentials_may_be_form_encoded_before_they_are_joined(
        self, shared_client: FlaskClient, agent: Agent, scheme: str
    ) -> None:
        plain = agent.client_id, agent.client_secret
        encoded = ["".join(f"%{ord(character):02X}" for character in text) for text in plain]
        for pair in (plain, encoded, [text.lower() for text in encoded]):
            assert ask(shared_client, GRANT, basic(*pair, scheme)).status_code == 200
        assert ask_as(shared_client, agent, client_id=agent.client_id).status_code == 200

    @pytest.mark.parametrize(
        ("header", "description"),
        [
            *[
                (header, "the scheme of the Authorization header must be Basic")
                for header in ("", "Bearer x", 'Digest username="x", realm="y"', "Negotiate x")
            ],
            *[
                (header, "the Authorization header must be the base64 of client_id:client_secret")
                for header in (
                    *("Basic", "Basic  ", "Basic =", "Basic Og", "Basic not base64!"),
                    *(f"Basic {encoded_64(text)}" for text in (b"no colon", b"\xff:\xff", b"%ff:%ff")),
                )
            ],
            *[
                (header, FAILED[1]["error_description"])
                for header in ("Basic Og==", *(f"Basic {encoded_64(text)}" for text in (b"\x00:\x00", b":" * 10_000)))
            ],
        ],
    )
    def test_what_is_no_basic_header_is_a_failed_authentication(
        self, shared_client: FlaskClient, header: str, description: str
    ) -> None:
        assert whole(ask(shared_client, GRANT, {"Authorization": header})) == failed(description)

    def test_all_that_fails_looks_the_same(self, shared_client: FlaskClient, shared_cast: Cast, agent: Agent) -> None:
        client_id, secret = agent.client_id, agent.client_secret
        pairs = [
            *[(client_id, wrong) for wrong in ("x", secret + "x", new_secret(), shared_cast.outsider.client_secret)],
            *[(wrong, secret) for wrong in (client_id.upper(), f"{{{client_id}}}", f" {client_id}", str(uuid.uuid4()))],
            *[(wrong, secret) for wrong in ("00000000-0000-0000-0000-000000000000", "nobody", "")],
            ("é", "é"),
        ]
        missing = failed("the request has no credential: send client_id and client_secret, or a client_assertion")
        assert whole(ask(shared_client)) == whole(ask(shared_client, GRANT | {"client_id": client_id})) == missing
        for pair in pairs:
            assert whole(ask(shared_client, GRANT, basic(*pair))) == FAILED, pair
            form = GRANT | dict(zip(("client_id", "client_secret"), pair, strict=True))
            assert pair[0] == "" or whole(ask(shared_client, form)) == FAILED, pair


class TestScope:
    """RFC 6749 section 3.3."""

    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            ("agents:read", "agents:read"),
            ("agents:write analytics:read", "agents:write analytics:read"),
            ("agents:read agents:read", "agents:read"),
        ],
        ids=["a part", "in the order asked", "each once"],
    )
    def test_grants_what_is_asked(self, shared_client: FlaskClient, agent: Agent, asked: str, granted: str) -> None:
        response = ask_as(shared_client, agent, scope=asked)
        assert (response.json["scope"], claims_of(response)["scope"]) == (granted, granted)

    @ON_CITUS_TOO
    def test_refuses_what_the_agent_does_not_have_and_counts_nothing(self, client: FlaskClient, cast: Cast) -> None:
        for scope in ("agents:read nothing", "Agents:read", "nothing", "*", "agents:read,agents:write"):
            advice = "; scopes are separated by blanks" if "," in scope else ""
            answer = refused("invalid_scope", SEND_RESOURCE.format(scope.removeprefix("agents:read ")) + advice)
            assert whole(ask_as(client, cast.acme, scope=scope)) == answer, scope
        names = ", ".join("abcde")
        answer = refused("invalid_scope", SEND_RESOURCE.format(f"{names} and 2 more"))
        assert whole(ask_as(client, cast.acme, scope="a b c d e f g")) == answer
        # Scopes of the API that only other agents have.
        reader = cast.acme.colleague("reader", ["agents:read"])
        answer = refused("invalid_scope", "the agent does not have the scope agents:write")
        for scope in ("agents:write", "agents:read agents:write"):
            assert whole(ask_as(client, reader, scope=scope)) == answer, scope
        assert claims_of(ask_as(client, reader, scope="agents:read"))["scope"] == "agents:read"
        assert cast.acme.sums()["tokens"] == 1


RESOURCE = "https://billing.example/v2"


class TestResource:
    """RFC 8707."""

    @pytest.fixture
    def acme(self, client: FlaskClient, cast: Cast) -> Agent:
        """An agent that has the first of the two scopes of a resource server; so has the outsider of another one."""
        for agent, resource in ((cast.acme, RESOURCE), (cast.outsider, "https://outsiders.example")):
            body = {"resource": resource, "name": "billing", "scopes": ["invoices:read", "invoices:write"]}
            assert client.post("/api/v1/resource-servers", json=body, headers=agent.bearer()).status_code == 201
            change(client, agent, agent, scopes=[*agent.scopes, "invoices:read"])
        return cast.acme

    def test_is_the_audience_and_our_own_api_unless_told_otherwise(self, client: FlaskClient, acme: Agent) -> None:
        scopes = " ".join(SCOPES)
        for form, audience, scope in (
            ({"resource": RESOURCE}, RESOURCE, "invoices:read"),
            ({}, API, scopes),
            ({"resource": API}, API, scopes),
        ):
            response = ask_as(client, acme, **form)
            claims = claims_of(response)
            assert (claims["aud"], claims["scope"], response.json["scope"]) == (audience, scope, scope)
        # All scopes of the agent at the resource server, in the agent's order.
        writer = acme.colleague("writer", ["invoices:write", "agents:read", "invoices:read"])
        assert ask_as(client, writer, resource=RESOURCE).json["scope"] == "invoices:write invoices:read"

    def test_a_scope_is_granted_for_the_resource_that_has_it(self, client: FlaskClient, acme: Agent) -> None:
        for form, message in (
            ({"resource": RESOURCE, "scope": "agents:read"}, LEAVE_OUT_RESOURCE),
            # The agent has it, and a message that says the contrary sends its operator to the wrong place.
            ({"scope": "invoices:read"}, SEND_RESOURCE.format("invoices:read")),
            # The resource server has the scope, but this agent does not.
            ({"resource": RESOURCE, "scope": "invoices:write"}, "the agent does not have the scope invoices:write"),
        ):
            assert whole(ask_as(client, acme, **form)) == refused("invalid_scope", message)

    def test_an_unknown_or_foreign_resource_is_no_target_and_counts_nothing(
        self, client: FlaskClient, acme: Agent
    ) -> None:
        before = acme.sums()
        answer = refused(
            "invalid_target", "the organization has no resource server for resource, or does not own its identifier"
        )
        unknown = ("https://unknown.example", "https://outsiders.example", f"{RESOURCE}/", RESOURCE.upper(), f"{API}/")
        for resource in (*unknown, ISSUER):
            assert whole(ask_as(client, acme, resource=resource)) == answer, resource
        assert acme.sums() == before


@pytest.fixture
def holder(agent: Agent) -> KeyHolder:
    """An agent with an ES256 key."""
    return KeyHolder.make(agent)


WRONG_AUDIENCES = [
    *[f"{ISSUER}{PATH}", f"{ISSUER}/", API, [ISSUER, f"{ISSUER}{PATH}"], [ISSUER, ISSUER], [], {"iss": ISSUER}, None]
]
WRONG_TIMES = [
    *[{"exp": exp} for exp in (str(NOW + 60), 10**30, True, float("nan"), float("inf"), -1, None)],
    *[{"iat": str(NOW)}, {"nbf": "now"}],
]
WRONG: list[tuple[dict[str, Any], str]] = [
    *[({"aud": aud}, "wrong audience") for aud in WRONG_AUDIENCES],
    *[({"jti": jti}, "wrong jti") for jti in (None, "", "x" * (MAX_JTI_LENGTH + 1), 7)],
    *[(times, "wrong times") for times in WRONG_TIMES],
    ({"exp": NOW - CLIENT_LEEWAY}, "assertion expired"),
    ({"exp": NOW + MAX_LIFETIME + CLIENT_LEEWAY + 1}, "assertion valid for too long"),
    ({"iat": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
    ({"nbf": NOW + CLIENT_LEEWAY + 1}, "assertion not yet valid"),
]


ADVICE = {
    "wrong audience": f"the audience of the assertion must be {ISSUER}",
    "wrong jti": "the assertion must have a jti of 1 to 256 characters",
    "wrong times": "the assertion must have exp, and exp, iat and nbf must be seconds since 1970",
    "assertion expired": "the assertion has expired: get or sign a new one, and check the clock of the client",
    "assertion valid for too long": (
        "the assertion is valid for too long: at most an hour, or a day if another issuer has signed it"
    ),
    "assertion not yet valid": "iat or nbf of the assertion is in the future: check the clock of the client",
}
"""The advice in the response to the signer of the assertion, by the logged reason."""


class TestPrivateKeyJwt:
    """RFC 7523 sections 2.2 and 3, with the audience of draft-ietf-oauth-rfc7523bis."""

    @pytest.mark.parametrize("alg", KEYS)
    @pytest.mark.parametrize("kid", ["mine", None])
    def test_a_key_authenticates(self, shared_client: FlaskClient, agent: Agent, alg: str, kid: str | None) -> None:
        claims = claims_of(ask(shared_client, KeyHolder.make(agent, alg, kid).form()))
        assert (claims["sub"], claims["scope"]) == (agent.client_id, " ".join(agent.scopes))

    @pytest.mark.parametrize(("bound", "other"), [("RS256", "PS256"), ("PS256", "RS256"), (None, "PS256")])
    def test_a_key_is_for_one_algorithm(
        self, shared_client: FlaskClient, agent: Agent, bound: str | None, other: str
    ) -> None:
        """RFC 8725 section 3.1. An RSA key without ``alg`` is for RS256."""
        key = KEYS["RS256"]()
        jwk = jwk_of(key, "RS256") | ({} if bound is None else {"alg": bound})
        path = f"/api/v1/agents/{agent.client_id}/credentials"
        made = shared_client.post(path, json={"jwk": jwk}, headers=agent.bearer())
        assert made.json["jwks"]["keys"][0]["alg"] == (bound or "RS256")
        assert whole(ask(shared_client, KeyHolder(agent, key, other).form())) == FAILED
        assert ask(shared_client, KeyHolder(agent, key, bound or "RS256").form()).status_code == 200

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

    @pytest.mark.parametrize(("changes", "reason"), WRONG, ids=str)
    def test_the_log_the_owner_and_the_client_learn_what_is_wrong(
        self,
        shared_client: FlaskClient,
        holder: KeyHolder,
        caplog: pytest.LogCaptureFixture,
        changes: dict[str, Any],
        reason: str,
    ) -> None:
        assert whole(ask(shared_client, holder.form(**changes))) == failed(ADVICE[reason])
        assert reasons(caplog) == [reason]
        assert rejections(holder.agent) == [(reason, 1)]

    def test_the_operator_learns_of_keys_and_replays(
        self, shared_client: FlaskClient, holder: KeyHolder, caplog: pytest.LogCaptureFixture
    ) -> None:
        used, other = holder.form(), KeyHolder(holder.agent, KEYS["ES256"]())
        assert ask(shared_client, used).status_code == 200
        # The key is remembered.
        assert whole(ask(shared_client, holder.form(aud="x"))) == failed(ADVICE["wrong audience"])
        assert whole(ask(shared_client, used)) == USED_BEFORE
        for form in (
            other.form(),
            # The signature is checked first, so a stranger cannot cause another reason in the log.
            other.form(aud="x"),
            holder.form(kid="yours"),
        ):
            assert whole(ask(shared_client, form)) == FAILED
        path = f"/api/v1/agents/{holder.agent.client_id}/credentials"
        operator = holder.agent.bearer()
        [made] = [row for row in shared_client.get(path, headers=operator).json["data"] if row["type"] == "key"]
        assert shared_client.delete(f"{path}/{made['credentialId']}", headers=operator).status_code == 204
        assert whole(ask(shared_client, holder.form())) == FAILED
        assert reasons(caplog) == [
            "wrong audience",
            "assertion used before",
            "wrong signature",
            "wrong signature",
            "unknown key",
            "revoked or expired key",
        ]

    def test_refuses_other_signatures(self, shared_client: FlaskClient, shared_cast: Cast, holder: KeyHolder) -> None:
        claims, outsider = holder.claims(), KeyHolder.make(shared_cast.outsider)
        colleague = holder.agent.colleague(f"agent {next(numbers)}")
        good, stranger = jwt.encode(claims, holder.key, "ES256"), KEYS["ES256"]()
        embedded = {"jwk": jwk_of(stranger, "ES256"), "kid": "mine"}
        public = holder.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        others = {
            "another key": jwt.encode(claims, stranger, "ES256", {"kid": "mine"}),
            "another algorithm": jwt.encode(claims, KEYS["RS256"](), "RS256", {"kid": "mine"}),
            "the key of another agent": jwt.encode(claims, KeyHolder.make(colleague).key, "ES256"),
            "the key of another organization": jwt.encode(claims, outsider.key, "ES256"),
            "none": jwt.encode(claims, None, "none"),
            "None": hand_made({"alg": "None"}, claims, b""),
            "no alg": hand_made({}, claims, b"x"),
            "an alg that is no string": hand_made({"alg": ["ES256"]}, claims, b"x"),
            "an embedded key": jwt.encode(claims, stranger, "ES256", embedded),
            "a critical extension": jwt.encode(claims, holder.key, "ES256", {"crit": ["x"], "x": 1}),
            "padding": good + "==",
            "three dots": good + ".",
            "too long": jwt.encode(claims | {"padding": "x" * MAX_LENGTH}, holder.key, "ES256"),
            "no JWT": "x",
            "no JSON": "eyJ.eyJ.eyJ",
            "claims in a list": hand_made({"alg": "ES256"}, [claims], holder.key),
            "a header that is no object": hand_made(["ES256"], claims, holder.key),
            "a kid that is no string": hand_made({"alg": "ES256", "kid": 7}, claims, holder.key),
            "claims that are not encoded": hand_made({"alg": "ES256", "b64": False}, claims, holder.key),
            # The last of 86 characters has four bits that no encoder sets.
            "another encoding": f"{good[:-1]}{chr(ord(good[-1]) + 1)}",
            "HS256 with the public key": hand_made({"alg": "HS256", "kid": "mine"}, claims, public),
            "HS256 with a secret": jwt.encode(claims, holder.agent.client_secret, "HS256"),
        }
        for name, text in others.items():
            assert whole(ask(shared_client, holder.form(text))) == FAILED, name
        assert ask(shared_client, holder.form(good)).status_code == 200
        digest = hashlib.sha256(json.dumps(jwk_of(holder.key, "ES256")).encode()).hexdigest()
        assert whole(ask(shared_client, GRANT, basic(holder.agent.client_id, digest))) == FAILED

    def test_what_is_not_the_clients_own_is_a_token_of_another_issuer(
        self, shared_client: FlaskClient, holder: KeyHolder
    ) -> None:
        """Such a token does not name its client."""
        others = [holder.form(**changes) for changes in ({"iss": "somebody"}, {"iss": None}, {"sub": None})]
        others.append(holder.form(jwt.encode(holder.claims(), holder.key, "ES256", {"typ": "at+jwt"})))
        for form in (*others, holder.form(holder.agent.token())):
            response = ask(shared_client, form)
            assert (response.status_code, response.json["error"]) == (400, "invalid_request")
            assert whole(ask(shared_client, form | {"client_id": holder.agent.client_id})) == FAILED

    @ON_CITUS_TOO
    def test_an_assertion_is_accepted_once_also_in_another_process_and_after_a_restart(
        self, client: FlaskClient, cast: Cast, database_url: str, clock: Clock
    ) -> None:
        holder = KeyHolder.make(cast.acme)
        with process(database_url, clock) as other:
            form = holder.form()
            assert ask(client, form).status_code == 200
            assert whole(ask(client, form)) == whole(ask(other, form)) == USED_BEFORE
            # Another assertion with the same jti is a replay, too.
            form = holder.form(jti="again")
            assert ask(other, form).status_code == 200
            assert whole(ask(client, holder.form(jti="again", exp=NOW + 120))) == USED_BEFORE
        with process(database_url, clock) as restarted:
            for clock.now in (NOON, NOON + timedelta(seconds=89)):
                assert whole(ask(restarted, form)) == USED_BEFORE
        assert cast.acme.sums()["tokens"] == 2

    def test_two_agents_may_use_the_same_jti(self, client: FlaskClient, cast: Cast) -> None:
        for agent in (cast.acme, cast.outsider, cast.acme.colleague()):
            assert ask(client, KeyHolder.make(agent).form(jti="one")).status_code == 200

    def test_client_id_must_be_that_of_the_assertion(self, shared_client: FlaskClient, holder: KeyHolder) -> None:
        assert ask(shared_client, holder.form() | {"client_id": holder.agent.client_id}).status_code == 200
        answer = refused("invalid_request", "client_id differs from the client assertion")
        assert whole(ask(shared_client, holder.form() | {"client_id": str(uuid.uuid4())})) == answer
        for nobody in (str(uuid.uuid4()), "nobody", ""):
            assert whole(ask(shared_client, holder.form_of(nobody))) == FAILED


@WITHOUT_CITUS
@pytest.mark.parametrize(
    "call",
    [
        "issue_token(p_organization_id => %s, p_agent_id => %s, p_secret_hash => %s, p_at => now(), "
        "p_day => current_date, p_hour => 0, p_key_or_rule => null, p_digest => null, p_expires_at => null, "
        "p_scope => null, p_own_scopes => '{}', p_resource => null, p_has_proof => false, "
        "p_authenticates_only => false, p_is_counted => true, p_durable => true)",
        "inspect_token(%s, %s, now(), %s, null, null, null, null, null, null, null, '', null, null, null, null, true)",
    ],
)
def test_a_refused_client_costs_the_same_reads_whether_it_exists_or_not(
    cast: Cast, database_url: str, call: str
) -> None:
    """The time of the response does not reveal which clients exist."""
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


@pytest.mark.parametrize("kind", ["secret", "key", "rule"])
@pytest.mark.parametrize(
    ("changed", "is_authentic", "is_active"),
    [
        ("credentials set expires_at = '2026-04-15T12:00:00.000001Z'", True, True),
        ("credentials set expires_at = '2026-04-15T12:00:00Z'", False, True),
        ("credentials set revoked_at = now()", False, True),
        ("organizations set suspended_at = now()", False, False),
        ("agents set status = 'suspended'", False, False),
        ("agents set deleted_at = now()", False, False),
    ],
)
def test_an_active_client_with_a_credential_in_force_is_admitted(
    client: FlaskClient, cast: Cast, database_url: str, changed: str, is_authentic: bool, is_active: bool, kind: str
) -> None:
    """The conditions are functions in ``sql/migrations/0004_conditions.sql``."""
    holder, issuer, organization_id = KeyHolder.make(cast.acme), Issuer.with_curve(), cast.acme.organization_id
    issuer.trusted_by(cast.acme)

    def form() -> dict[str, str]:
        if kind == "rule":
            return holder.form(issuer.token(ISSUER)) | {"client_id": cast.acme.client_id}
        return holder.form() if kind == "key" else cast.acme.form

    # From here on the process remembers the key or rule, so only the functions read it from the database.
    token = ask(client, form()).json["access_token"]
    execute(database_url, f"update {changed} where organization_id = %s", organization_id)
    answers = [ask(client, form()), ask(client, form() | {"token": token}, path=f"{PATH}/introspect")]
    assert [answer.status_code == 401 for answer in answers] == [not is_authentic] * 2
    assert is_authentic == all(answer.status_code == 200 for answer in answers)
    response = client.get("/api/v1/organization", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == (200 if is_active else 401)
