"""A token that is not one of ours, for us, and good now, is refused; all refusals look the same."""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask.testing import FlaskClient

from agentidp.jose.access_token import LEEWAY
from agentidp.scopes import SCOPES
from tests.conftest import Cast
from tests.factories import NOON, RESOURCE_METADATA, Agent, Clock, usage_sums
from tests.routes import INVALID_TOKEN, PROTECTED

NOW = int(NOON.timestamp())
SOMEBODY_ELSE = "6d7a1f0c-0000-4000-8000-000000000000"
CHALLENGE = (
    'Bearer realm="agentidp", error="invalid_token", '
    f'error_description="The access token is invalid, expired or revoked", {RESOURCE_METADATA}'
)


def encoded(part: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class Forge:
    """Makes tokens that differ from a good one in what is asked for."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.key = agent.services.keys.current().signing
        settings = agent.services.settings
        self.claims: dict[str, Any] = {
            "iss": settings.issuer,
            "sub": agent.client_id,
            "client_id": agent.client_id,
            "aud": settings.resource,
            "exp": NOW + 600,
            "iat": NOW,
            "jti": uuid.uuid4().hex,
            "organization_id": agent.organization_id,
            "scope": " ".join(agent.scopes),
        }
        self.header: dict[str, Any] = {"typ": "at+jwt", "alg": self.key.alg, "kid": self.key.kid}

    def sign(self, header: dict[str, Any], payload: bytes, key: Any = None, alg: str | None = None) -> str:
        """A JWS of these very bytes; by our own key unless told otherwise."""
        signed = f"{encoded(json.dumps(header).encode())}.{encoded(payload)}"
        algorithm = jwt.get_algorithm_by_name(alg or self.key.alg)
        prepared = algorithm.prepare_key(self.key.private_key if key is None else key)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), prepared))}"

    def with_claims(self, **changes: Any) -> str:
        """A token by our own key whose claims differ; ``None`` leaves one out."""
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return self.sign(self.header, json.dumps(claims).encode())

    def with_header(self, **changes: Any) -> str:
        """A token by our own key whose header differs; ``None`` leaves a member out."""
        header = {name: value for name, value in (self.header | changes).items() if value is not None}
        return self.sign(header, json.dumps(self.claims).encode())

    def unsigned(self, alg: Any, signature: str = "") -> str:
        """A token that says it needs no signature."""
        header = json.dumps(self.header | {"alg": alg}).encode()
        return f"{encoded(header)}.{encoded(json.dumps(self.claims).encode())}.{signature}"

    @property
    def public_key(self) -> Any:
        """The key that verifies."""
        return self.key.private_key.public_key()

    def public(self, encoding: serialization.Encoding) -> bytes:
        """The key that verifies, as bytes."""
        return bytes(self.public_key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))

    def confused(self, secret: bytes) -> str:
        """A token with an HMAC keyed by something that everybody knows."""
        header, payload = json.dumps(self.header | {"alg": "HS256"}), json.dumps(self.claims)
        signed = f"{encoded(header.encode())}.{encoded(payload.encode())}"
        algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        return f"{signed}.{encoded(algorithm.sign(signed.encode(), secret))}"

    def by_another_key(self, **header: Any) -> str:
        """A token by a key that is not ours."""
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        header = {name: jwk if value == "its own" else value for name, value in header.items()}
        return self.sign(self.header | header, json.dumps(self.claims).encode(), key)


def an_rsa_key() -> rsa.RSAPrivateKey:
    """Not ours."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


FORGED: dict[str, Callable[[Forge], str]] = {
    **{
        f"alg {alg!r}": lambda f, alg=alg: f.unsigned(alg)
        for alg in ("none", "None", "NONE", "nOnE", "", None, 0, [], {})
    },
    "alg none with our signature": lambda f: f.unsigned("none", f.agent.token().rpartition(".")[2]),
    "our alg without a signature": lambda f: f.unsigned("ES256"),
    "our alg with an empty-looking signature": lambda f: f.unsigned("ES256", encoded(bytes(64))),
    "HS256 with the public key in PEM": lambda f: f.confused(f.public(serialization.Encoding.PEM)),
    "HS256 with the public key in DER": lambda f: f.confused(f.public(serialization.Encoding.DER)),
    "HS256 with the kid": lambda f: f.confused(f.key.kid.encode()),
    "HS256 with nothing": lambda f: f.confused(b""),
    "another key": lambda f: f.by_another_key(),
    "another key, embedded": lambda f: f.by_another_key(jwk="its own"),
    "another key, embedded, without a kid": lambda f: f.by_another_key(jwk="its own", kid=None),
    "another key, by jku": lambda f: f.by_another_key(jku="http://127.0.0.1:1/jwks.json"),
    "another key, by x5u": lambda f: f.by_another_key(x5u="http://127.0.0.1:1/cert.pem"),
    "another key of another type": lambda f: f.sign(
        f.header | {"alg": "RS256"}, json.dumps(f.claims).encode(), an_rsa_key(), "RS256"
    ),
    "the alg of another type": lambda f: f.with_header(alg="RS256"),
    "a curve's alg that is not the key's": lambda f: f.with_header(alg="ES384"),
    **{
        f"kid {name}": lambda f, kid=kid: f.with_header(kid=kid)
        for name, kid in {
            "missing": None,
            "unknown": "unknown",
            "empty": "",
            "SQL": "' or '1'='1",
            "a path": "../../../../dev/null",
            "a NUL": "\x00",
            "10 KB": "k" * 10_240,
            "a number": 1,
            "a list": ["x"],
            "an object": {"x": 1},
            "a lone surrogate": "\ud800",
        }.items()
    },
    "kid ours and a NUL": lambda f: f.with_header(kid=f"{f.key.kid}\x00"),
    "crit": lambda f: f.with_header(crit=["exp"]),
    "crit unknown": lambda f: f.with_header(crit=["x"], x=1),
    "crit empty": lambda f: f.with_header(crit=[]),
    "b64 false": lambda f: f.with_header(b64=False, crit=["b64"]),
    **{
        f"typ {typ!r}": lambda f, typ=typ: f.with_header(typ=typ)
        for typ in (None, "JWT", "jwt", "id+jwt", "dpop+jwt", "", "at", 1, ["at+jwt"], "application/jwt")
    },
    **{
        f"without {claim}": lambda f, claim=claim: f.with_claims(**{claim: None})
        for claim in ("iss", "sub", "client_id", "aud", "exp", "iat", "jti", "organization_id")
    },
    **{
        f"{claim} {value!r}"[:60]: lambda f, claim=claim, value=value: f.with_claims(**{claim: value})
        for claim, values in {
            "iss": ["https://evil.example", "", "http://localhost:3000/", 1, ["http://localhost:3000"], True],
            "aud": ["https://evil.example", "", "http://localhost:3000", 1, [], {}, True, ["https://evil.example"]],
            "sub": ["", 1, [], "agent", "\x00", SOMEBODY_ELSE],
            "client_id": ["", 1, [], "agent", SOMEBODY_ELSE],
            "organization_id": [1, [], {}, True],
            "jti": [1, [], True],
            "scope": [1, ["agents:read"], {}, True],
            "exp": [str(NOW + 600), NOW + 600.5, float(NOW + 600), 10**30, 10**400, -1, True, [], {}, NOW - LEEWAY, 0],
            "iat": [str(NOW), float(NOW), 10**30, True, [], NOW + LEEWAY + 1],
            "nbf": [str(NOW), 10**30, True, [], NOW + LEEWAY + 1],
            "cnf": [{}, {"x5t#S256": "x"}, {"jkt": "a-thumbprint", "x5t#S256": "x"}, "x", []],
        }.items()
        for value in values
    },
    "exp NaN": lambda f: f.sign(f.header, json.dumps(f.claims | {"exp": math.nan}).encode()),
    "exp Infinity": lambda f: f.sign(f.header, json.dumps(f.claims | {"exp": math.inf}).encode()),
    "a payload that is a list": lambda f: f.sign(f.header, b"[]"),
    "a payload that is null": lambda f: f.sign(f.header, b"null"),
    "a payload that is not JSON": lambda f: f.sign(f.header, b"{"),
    "a payload that is not UTF-8": lambda f: f.sign(f.header, b'{"iss":"\xff"}'),
    "an empty payload": lambda f: f.sign(f.header, b""),
    "a payload of 1,000 brackets": lambda f: f.sign(f.header, b"[" * 1000),
    "a header that is a list": lambda f: f"{encoded(b'[]')}.{f.agent.token().partition('.')[2]}",
    "a header that is not JSON": lambda f: f"{encoded(b'{')}.{f.agent.token().partition('.')[2]}",
    "padding": lambda f: f.agent.token() + "==",
    "one character of padding": lambda f: f.agent.token() + "=",
    "a character more": lambda f: f.agent.token() + "A",
    "a character less": lambda f: f.agent.token()[:-1],
    "four parts": lambda f: f.agent.token() + ".x",
    "five parts": lambda f: f.agent.token() + ".x.y",
    "two parts": lambda f: f.agent.token().rpartition(".")[0],
    "the standard alphabet": lambda f: f.agent.token().partition(".")[0] + ".a+/b.c",
    "another's signature": lambda f: f.agent.token().rpartition(".")[0] + "." + f.agent.token().rpartition(".")[2],
    "empty parts": lambda _: "..",
    "10 KB": lambda f: f.agent.token() + "A" * 10_240,
    "what it is not": lambda _: "hello",
    "a comma": lambda f: f"{f.agent.token()},{f.agent.token()}",
}


@pytest.fixture(scope="module")
def forge(shared_cast: Cast) -> Forge:
    """For tokens of Acme's agent."""
    return Forge(shared_cast.acme)


def test_what_is_forged_here_would_be_good_otherwise(shared_client: FlaskClient, forge: Forge) -> None:
    for good in (
        forge.with_claims(),
        forge.with_header(),
        forge.with_header(typ="application/at+jwt"),
        forge.with_header(typ="AT+JWT"),
        forge.with_claims(nbf=NOW + LEEWAY, iat=NOW + LEEWAY),
        forge.with_claims(exp=NOW - LEEWAY + 1),
    ):
        headers = {"Authorization": f"Bearer {good}"}
        assert shared_client.get("/api/v1/agents", headers=headers).status_code == 200


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_like_every_other(shared_client: FlaskClient, forge: Forge, name: str) -> None:
    headers = {"Authorization": f"Bearer {FORGED[name](forge)}"}
    for path in ("/api/v1/agents", "/api/v1/analytics/tokens"):
        response = shared_client.get(path, headers=headers)
        assert (response.status_code, response.json) == (401, INVALID_TOKEN)
        assert response.headers["WWW-Authenticate"] == CHALLENGE
        assert response.headers["Cache-Control"] == "no-store"


def test_every_route_refuses_it(shared_client: FlaskClient, forge: Forge, shared_cast: Cast) -> None:
    headers = {"Authorization": f"Bearer {forge.unsigned('none')}"}
    for route in PROTECTED:
        path = route.path(shared_cast.acme.agent_id)
        response = shared_client.open(path, method=route.method, json=route.body, headers=headers)
        assert (response.status_code, response.json) == (401, INVALID_TOKEN), str(route)


def test_of_another_organizations_making(shared_client: FlaskClient, forge: Forge, shared_cast: Cast) -> None:
    # By our key, so only we could make it: an agent that is not the organization's is not admitted.
    token = forge.with_claims(organization_id=shared_cast.outsider.organization_id)
    response = shared_client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json) == (401, INVALID_TOKEN)


class TestTime:
    """A token is good from ``iat`` to ``exp``, give or take the leeway, whether it has been seen before or not."""

    def test_on_both_sides_of_its_life(self, client: FlaskClient, cast: Cast, clock: Clock) -> None:
        token = cast.acme.bearer(ttl=60)

        def status(**delta: float) -> int:
            clock.now = NOON + timedelta(**delta)
            return client.get("/api/v1/agents", headers=token).status_code

        end = 60 + LEEWAY
        expected = {-LEEWAY - 1: 401, -LEEWAY: 200, 0: 200, 60: 200, end - 0.000001: 200, end: 401, end + 3600: 401}
        assert {seconds: status(seconds=seconds) for seconds in expected} == expected

    def test_an_expired_one_counts_as_a_rejection_of_its_agent_and_a_forged_one_does_not(
        self, client: FlaskClient, cast: Cast, clock: Clock, database_url: str
    ) -> None:
        expired = cast.acme.bearer(at=NOON - timedelta(hours=2))
        assert client.get("/api/v1/agents", headers=expired).status_code == 401
        forged = {"Authorization": f"Bearer {Forge(cast.acme).by_another_key()}"}
        assert client.get("/api/v1/agents", headers=forged).status_code == 401
        counted = usage_sums(database_url, cast.acme.organization_id)
        assert {n for name, n in counted.items() if "rejected" in name} == {1}
        assert {n for name, n in counted.items() if "rejected" not in name} == {0}


def test_an_issued_token_is_after_rfc_9068(shared_client: FlaskClient, shared_cast: Cast) -> None:
    acme = shared_cast.acme
    form = {"grant_type": "client_credentials", "client_id": acme.client_id, "client_secret": acme.client_secret}
    token = shared_client.post("/api/v1/token", data=form).json["access_token"]
    jwks = shared_client.get("/.well-known/jwks.json").json
    [jwk] = jwks["keys"]
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "ES256", "kid": jwk["kid"]}
    claims = jwt.decode(
        token,
        jwt.PyJWK(jwk).key,
        algorithms=["ES256"],
        audience="http://localhost:3000/api/v1",
        issuer="http://localhost:3000",
        options={"verify_exp": False, "verify_iat": False},
    )
    jti = claims.pop("jti")
    assert len(jti) >= 20
    assert claims == {
        "iss": "http://localhost:3000",
        "sub": acme.client_id,
        "client_id": acme.client_id,
        "aud": "http://localhost:3000/api/v1",
        "iat": NOW,
        "exp": NOW + acme.services.settings.token_ttl,
        "scope": " ".join(SCOPES),
        "organization_id": acme.organization_id,
    }
