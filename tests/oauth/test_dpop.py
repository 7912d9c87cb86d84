"""DPoP at the token endpoint and on our API (RFC 9449)."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from agentidp import create_app
from agentidp.config import Settings
from agentidp.jose.dpop import MAX_AGE
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.scopes import SCOPES
from agentidp.services import Services
from tests.conftest import Cast, settings_for
from tests.factories import RESOURCE_METADATA, Agent, Clock, usage_sums
from tests.oauth.roca import roca_key
from tests.oauth.test_token_endpoint import KEYS

ISSUER = "http://localhost:3000"
TOKEN_URL = f"{ISSUER}/api/v1/token"
TREND = "/api/v1/analytics/tokens"
ALGS = "ES256 ES384 RS256 PS256 EdDSA Ed25519"
BEARER_CHALLENGE = (
    'Bearer realm="agentidp", error="invalid_token", '
    f'error_description="The access token is invalid, expired or revoked", {RESOURCE_METADATA}'
)


class Holder:
    """Someone who holds a key and makes proofs with it."""

    def __init__(self, clock: Clock, alg: str = "ES256", key: Any = None) -> None:
        self.clock, self.alg = clock, alg
        self.key = key or KEYS[alg]()
        algorithm: Any = jwt.get_algorithm_by_name(alg)
        self.jwk = json.loads(algorithm.to_jwk(self.key.public_key()))
        self.jwk.pop("key_ops", None)
        self.private_jwk = json.loads(algorithm.to_jwk(self.key))

    def proof(self, method: str, url: str, token: str | None = None, **changes: Any) -> str:
        """A proof; *changes* replace claims, or the header's ``typ``, ``jwk`` and ``alg``; None takes one away."""
        claims: dict[str, Any] = {
            "jti": uuid.uuid4().hex,
            "htm": method,
            "htu": url,
            "iat": int(self.clock().timestamp()),
        }
        if token is not None:
            claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        header = {"typ": "dpop+jwt", "jwk": self.jwk} | {
            k: v for k, v in changes.items() if k in ("typ", "jwk", "crit")
        }
        claims |= {k: v for k, v in changes.items() if k not in ("typ", "jwk", "crit")}
        return jwt.encode(
            {k: v for k, v in claims.items() if v is not None},
            self.key,
            self.alg,
            headers={k: v for k, v in header.items() if v is not None},
        )


def ask(client: FlaskClient, agent: Agent, *proofs: str) -> TestResponse:
    return client.post(
        "/api/v1/token",
        data={"grant_type": "client_credentials"},
        auth=(agent.client_id, agent.client_secret),
        headers=[("DPoP", proof) for proof in proofs],
    )


def bound_token(client: FlaskClient, agent: Agent, holder: Holder) -> str:
    response = ask(client, agent, holder.proof("POST", TOKEN_URL))
    assert response.status_code == 200, response.json
    assert response.json is not None
    return str(response.json["access_token"])


def call(client: FlaskClient, token: str, *proofs: str, scheme: str = "DPoP", path: str = TREND) -> TestResponse:
    return client.get(path, headers=[("Authorization", f"{scheme} {token}"), *(("DPoP", proof) for proof in proofs)])


@pytest.fixture
def holder(clock: Clock) -> Holder:
    return Holder(clock)


@pytest.mark.parametrize("alg", KEYS)
def test_binds_a_token_to_the_key_and_takes_it_with_a_proof(
    client: FlaskClient, cast: Cast, clock: Clock, database_url: str, alg: str
) -> None:
    holder = Holder(clock, alg)
    response = ask(client, cast.acme, holder.proof("POST", TOKEN_URL))
    assert response.json is not None
    assert {k: v for k, v in response.json.items() if k != "access_token"} == {
        "token_type": "DPoP",
        "expires_in": Settings.token_ttl,
        "scope": " ".join(SCOPES),
    }
    token = response.json["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    members = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[holder.jwk["kty"]]
    canonical = json.dumps({m: holder.jwk[m] for m in members}, separators=(",", ":"))
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    assert claims["cnf"] == {"jkt": thumbprint}

    answer = call(client, token, holder.proof("GET", ISSUER + TREND, token))
    assert answer.status_code == 200
    sums = usage_sums(database_url, cast.acme.organization_id)
    assert (sums["tokens"], sums["requests"], sums["rejected"]) == (1, 2, 0)


def test_refuses_a_bound_token_without_its_proof_and_counts_the_rejection(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str
) -> None:
    token = bound_token(client, cast.acme, holder)
    proof = holder.proof("GET", ISSUER + TREND, token)
    as_bearer = call(client, token, proof, scheme="Bearer")
    assert as_bearer.status_code == 401
    assert as_bearer.headers.getlist("WWW-Authenticate") == [BEARER_CHALLENGE, f'DPoP algs="{ALGS}"']
    without = call(client, token)
    assert without.status_code == 401
    assert without.json == {"code": "UNAUTHORIZED", "message": "the DPoP proof is not one JWT", "details": {}}
    assert without.headers.getlist("WWW-Authenticate") == [
        f'DPoP realm="agentidp", algs="{ALGS}", error="invalid_dpop_proof", '
        'error_description="the DPoP proof is not one JWT"'
    ]
    sums = usage_sums(database_url, cast.acme.organization_id)
    assert (sums["requests"], sums["rejected"], sums["agent_rejected"]) == (1, 2, 2)


def test_refuses_a_bearer_token_sent_as_if_it_were_bound(client: FlaskClient, cast: Cast, holder: Holder) -> None:
    token = cast.acme.token()
    assert call(client, token, holder.proof("GET", ISSUER + TREND, token)).status_code == 401


def test_refuses_the_proof_of_another_key(client: FlaskClient, cast: Cast, holder: Holder, clock: Clock) -> None:
    token = bound_token(client, cast.acme, holder)
    thief = Holder(clock)
    assert call(client, token, thief.proof("GET", ISSUER + TREND, token)).status_code == 401


def test_takes_a_proof_once_and_by_no_second_process(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str, clock: Clock
) -> None:
    token = bound_token(client, cast.acme, holder)
    proof = holder.proof("GET", ISSUER + TREND, token)
    assert call(client, token, proof).status_code == 200
    second = create_app(settings_for(database_url), clock=clock)
    for process in (client, second.test_client()):
        again = call(process, token, proof)
        assert again.status_code == 401
        assert again.json is not None
        assert again.json["message"] == "the DPoP proof was used before"
    second.extensions["agentidp"].close()
    sums = usage_sums(database_url, cast.acme.organization_id)
    assert (sums["requests"], sums["rejected"]) == (2, 2)


def test_takes_a_proof_once_for_a_change_too(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str
) -> None:
    token = bound_token(client, cast.acme, holder)
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": holder.proof("POST", f"{ISSUER}/api/v1/agents", token),
    }
    assert client.post("/api/v1/agents", json={"name": "first"}, headers=headers).status_code == 201
    assert client.post("/api/v1/agents", json={"name": "second"}, headers=headers).status_code == 401
    # A request that fails for another reason has used its proof up as well, and was counted once.
    headers["DPoP"] = holder.proof("POST", f"{ISSUER}/api/v1/agents", token)
    assert client.post("/api/v1/agents", json={"name": "first"}, headers=headers).status_code == 409
    assert client.post("/api/v1/agents", json={"name": "third"}, headers=headers).status_code == 401
    sums = usage_sums(database_url, cast.acme.organization_id)
    assert (sums["requests"], sums["rejected"]) == (3, 2)


def test_a_proof_serves_one_token_request(client: FlaskClient, cast: Cast, holder: Holder, database_url: str) -> None:
    proof = holder.proof("POST", TOKEN_URL)
    assert ask(client, cast.acme, proof).status_code == 200
    again = ask(client, cast.acme, proof)
    assert again.status_code == 400
    assert again.json == {"error": "invalid_dpop_proof", "error_description": "the DPoP proof was used before"}
    assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 1


@pytest.mark.parametrize("age", [-MAX_AGE, MAX_AGE])
def test_takes_a_proof_at_either_end_of_its_minute(
    client: FlaskClient, cast: Cast, holder: Holder, clock: Clock, age: int
) -> None:
    iat = int(clock().timestamp()) - age
    assert ask(client, cast.acme, holder.proof("POST", TOKEN_URL, iat=iat)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"htm": "GET"},
        {"htu": f"{ISSUER}/api/v1/tokens"},
        {"htu": "http://other.example/api/v1/token"},
        {"htu": "https://localhost:3000/api/v1/token"},
        {"htu": 7},
        {"htu": "http://[broken"},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * (MAX_JTI_LENGTH + 1)},
        {"jti": 7},
        {"iat": None},
        {"iat": 0},
        {"iat": 10**30},
        {"iat": float("nan")},
        {"iat": "1776254400"},
        {"iat": True},
        {"typ": "JWT"},
        {"typ": None},
        {"jwk": None},
        {"jwk": {}},
        {"jwk": "text"},
        {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
        {"crit": ["exp"]},
    ],
    ids=str,
)
def test_refuses_a_proof_that_breaks_a_rule_and_issues_nothing(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str, changes: dict[str, Any]
) -> None:
    response = ask(client, cast.acme, holder.proof("POST", TOKEN_URL, **changes))
    assert response.status_code == 400
    assert response.json is not None
    assert response.json["error"] == "invalid_dpop_proof"
    assert response.headers["Cache-Control"] == "no-store"
    assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 0


@pytest.mark.parametrize("beyond", [-MAX_AGE - 1, MAX_AGE + 1])
def test_refuses_a_proof_beyond_its_minute(
    client: FlaskClient, cast: Cast, holder: Holder, clock: Clock, beyond: int
) -> None:
    iat = int(clock().timestamp()) - beyond
    assert ask(client, cast.acme, holder.proof("POST", TOKEN_URL, iat=iat)).status_code == 400


def test_refuses_what_is_no_proof(client: FlaskClient, cast: Cast, holder: Holder, clock: Clock) -> None:
    proof = holder.proof("POST", TOKEN_URL)
    private = Holder(clock)
    other_key = holder.proof("POST", TOKEN_URL, jwk=private.jwk)
    with_private_key = holder.proof("POST", TOKEN_URL, jwk=holder.private_jwk)
    claims = jwt.decode(proof, options={"verify_signature": False})
    symmetric = jwt.encode(claims, "x" * 32, "HS256", headers={"typ": "dpop+jwt", "jwk": holder.jwk})
    unsigned = jwt.encode(claims, None, "none", headers={"typ": "dpop+jwt", "jwk": holder.jwk})
    for proofs in (
        ("",),
        ("a.b.c",),
        (proof + "=",),
        ("x" * 9000,),
        (proof, holder.proof("POST", TOKEN_URL)),
        (other_key,),
        (with_private_key,),
        (symmetric,),
        (unsigned,),
    ):
        response = ask(client, cast.acme, *proofs)
        assert response.status_code == 400, proofs
        assert response.json is not None
        assert response.json["error"] == "invalid_dpop_proof"


@pytest.mark.parametrize(
    ("alg", "members", "rule"),
    [
        ("ES256", {"key_ops": ["encrypt"]}, "is refused: key_ops must hold verify, and nothing else but sign"),
        ("ES256", {"use": "enc"}, "is refused: use must be sig"),
        ("PS256", {"alg": "RS256"}, "does not fit its alg"),
        ("RS256", {"alg": "PS256"}, "does not fit its alg"),
        ("RS256", {"alg": "ES256"}, "is refused: alg must be RS256 or PS256"),
    ],
)
def test_refuses_a_key_that_is_for_something_else(
    client: FlaskClient, cast: Cast, clock: Clock, alg: str, members: dict[str, Any], rule: str
) -> None:
    holder = Holder(clock, alg)
    response = ask(client, cast.acme, holder.proof("POST", TOKEN_URL, jwk=holder.jwk | members))
    description = f"the key of the DPoP proof {rule}"
    assert response.json == {"error": "invalid_dpop_proof", "error_description": description}


@pytest.mark.parametrize(("alg", "of"), [("ES256", "ES384"), ("ES384", "ES256"), ("PS256", "ES256")])
def test_refuses_a_key_that_the_algorithm_is_not_of(
    client: FlaskClient, cast: Cast, clock: Clock, alg: str, of: str
) -> None:
    response = ask(client, cast.acme, Holder(clock, alg).proof("POST", TOKEN_URL, jwk=Holder(clock, of).jwk))
    description = f"the key of the DPoP proof is refused: alg must be {of}"
    assert response.json == {"error": "invalid_dpop_proof", "error_description": description}


def test_refuses_a_key_that_can_be_factored(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    response = ask(client, cast.acme, Holder(clock, "RS256", roca_key()).proof("POST", TOKEN_URL))
    assert response.json is not None
    assert "is refused: is a weak RSA key (ROCA, CVE-2017-15361)" in response.json["error_description"]


@pytest.mark.parametrize("ath", [None, "", "x" * 43, 7])
def test_a_proof_for_the_api_names_the_token(client: FlaskClient, cast: Cast, holder: Holder, ath: object) -> None:
    token = bound_token(client, cast.acme, holder)
    response = call(client, token, holder.proof("GET", ISSUER + TREND, token, ath=ath))
    assert response.status_code == 401
    assert response.json is not None
    assert response.json["message"] == "ath of the DPoP proof is not that of the access token"


def test_the_address_of_a_proof_has_no_query_and_any_spelling_of_the_host(
    client: FlaskClient, cast: Cast, holder: Holder
) -> None:
    token = bound_token(client, cast.acme, holder)
    proof = holder.proof("GET", "HTTP://LOCALHOST:3000" + TREND, token)
    assert call(client, token, proof, path=f"{TREND}?days=1").status_code == 200


def test_an_agent_that_must_bind_gets_no_bearer_token(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str
) -> None:
    url = f"/api/v1/agents/{cast.acme.client_id}"
    changed = client.patch(url, json={"dpopBoundAccessTokens": True}, headers=cast.acme.bearer())
    assert changed.json is not None
    assert changed.json["dpopBoundAccessTokens"] is True
    refused = ask(client, cast.acme)
    assert refused.status_code == 400
    assert refused.json == {
        "error": "invalid_dpop_proof",
        "error_description": "the agent must bind its tokens to a key: send a DPoP proof",
    }
    assert usage_sums(database_url, cast.acme.organization_id)["tokens"] == 0
    assert ask(client, cast.acme, holder.proof("POST", TOKEN_URL)).status_code == 200


def test_a_suspended_agents_bound_token_stops_working(
    client: FlaskClient, cast: Cast, holder: Holder, services: Services
) -> None:
    token = bound_token(client, cast.acme, holder)
    url = f"/api/v1/agents/{cast.acme.client_id}"
    assert client.patch(url, json={"status": "suspended"}, headers=cast.acme.bearer()).status_code == 200
    assert call(client, token, holder.proof("GET", ISSUER + TREND, token)).status_code == 401
