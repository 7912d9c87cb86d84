"""DPoP at the token endpoint and on our API (RFC 9449)."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient

from agentidp.config import Settings
from agentidp.jose.dpop import MAX_AGE, MAX_LENGTH, ProofRefused, verify_proof
from agentidp.jose.jws import MAX_JTI_LENGTH
from agentidp.scopes import SCOPES
from tests.conftest import Cast
from tests.factories import NOON, Clock
from tests.helpers.access_token import CHALLENGE
from tests.helpers.dpop import TOKEN_URL, TREND, Holder, ask, bound_token, call, holder
from tests.oauth.clients import ISSUER, KEYS, NOW, change, jwk_of, process, refused, whole
from tests.oauth.roca import roca_key
from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url", "holder"]

ALGS = "ES256 ES384 RS256 PS256 EdDSA Ed25519"
NOT_SIGNED = "the DPoP proof is not signed by the public key that it names"
WRONG_HEADER = f"the DPoP proof must have typ dpop+jwt and alg {', '.join(ALGS.split())}"
WRONG_JTI = f"jti of the DPoP proof must have 1 to {MAX_JTI_LENGTH} characters"
WRONG_URL = "htu of the DPoP proof is not the address of the request"


def rule(proof: str) -> str | None:
    """Return the rule that a proof for the token endpoint breaks, or ``None``."""
    try:
        verify_proof(proof, method="POST", url=TOKEN_URL, at=NOON)
    except ProofRefused as error:
        return str(error)
    return None


@pytest.mark.parametrize("alg", KEYS)
def test_binds_a_token_to_the_key_and_takes_it_with_a_proof(
    client: FlaskClient, cast: Cast, clock: Clock, alg: str
) -> None:
    holder = Holder(clock, alg)
    response = ask(client, cast.acme, holder.proof("POST", TOKEN_URL))
    body = response.json
    token = body.pop("access_token")
    assert body == {"token_type": "DPoP", "expires_in": Settings.token_ttl, "scope": " ".join(SCOPES)}
    assert jwt.decode(token, options={"verify_signature": False})["cnf"] == {"jkt": holder.jkt}
    # The address in a proof has no query, and its host may be spelled in capitals.
    proof = holder.proof("GET", "HTTP://LOCALHOST:3000" + TREND, token)
    assert call(client, token, proof, path=f"{TREND}?days=1").status_code == 200
    sums = cast.acme.sums()
    assert (sums["tokens"], sums["requests"], sums["rejected"]) == (1, 2, 0)


def test_refuses_a_bound_token_without_its_proof_and_counts_the_rejection(
    client: FlaskClient, cast: Cast, holder: Holder, clock: Clock
) -> None:
    token = bound_token(client, cast.acme, holder)
    as_bearer = call(client, token, holder.proof("GET", ISSUER + TREND, token), scheme="Bearer")
    assert as_bearer.status_code == 401
    advice = "The access token is bound to a key. Send it with the scheme DPoP, and a proof in the header DPoP."
    challenge = CHALLENGE.replace("The access token is invalid, expired or revoked", advice)
    assert as_bearer.headers.getlist("WWW-Authenticate") == [challenge, f'DPoP algs="{ALGS}"']
    without = call(client, token)
    assert without.status_code == 401
    assert without.json == {"code": "UNAUTHORIZED", "message": "the header DPoP with a proof is missing", "details": {}}
    assert without.headers.getlist("WWW-Authenticate") == [
        f'DPoP realm="agentidp", algs="{ALGS}", error="invalid_dpop_proof", '
        'error_description="the header DPoP with a proof is missing"'
    ]
    # A proof by the key of a thief, and a proof for another token.
    assert call(client, token, Holder(clock).proof("GET", ISSUER + TREND, token)).status_code == 401
    for ath in (None, "", "x" * 43, 7):
        response = call(client, token, holder.proof("GET", ISSUER + TREND, token, ath=ath))
        message = "ath of the DPoP proof is not the hash of the access token"
        assert (response.status_code, response.json["message"]) == (401, message)
    # A token that is not bound to a key, sent as if it were.
    plain = cast.acme.token()
    assert call(client, plain, holder.proof("GET", ISSUER + TREND, plain)).status_code == 401
    sums = cast.acme.sums()
    assert (sums["requests"], sums["rejected"], sums["agent_rejected"]) == (1, 8, 8)


def test_takes_a_proof_once_and_by_no_second_process(
    client: FlaskClient, cast: Cast, holder: Holder, database_url: str, clock: Clock
) -> None:
    token = bound_token(client, cast.acme, holder)
    proof = holder.proof("GET", ISSUER + TREND, token)
    assert call(client, token, proof).status_code == 200
    with process(database_url, clock) as second:
        for one in (client, second):
            again = call(one, token, proof)
            assert (again.status_code, again.json["message"]) == (401, "the DPoP proof was used before")
    sums = cast.acme.sums()
    assert (sums["requests"], sums["rejected"]) == (2, 2)


def test_takes_a_proof_once_for_a_change_too(client: FlaskClient, cast: Cast, holder: Holder) -> None:
    token = bound_token(client, cast.acme, holder)
    path = "/api/v1/agents"
    headers = {"Authorization": f"DPoP {token}", "DPoP": holder.proof("POST", ISSUER + path, token)}
    assert client.post(path, json={"name": "first"}, headers=headers).status_code == 201
    assert client.post(path, json={"name": "second"}, headers=headers).status_code == 401
    # A request that fails for another reason also consumes its proof, and is counted once.
    headers["DPoP"] = holder.proof("POST", ISSUER + path, token)
    assert client.post(path, json={"name": "first"}, headers=headers).status_code == 409
    assert client.post(path, json={"name": "third"}, headers=headers).status_code == 401
    sums = cast.acme.sums()
    assert (sums["requests"], sums["rejected"]) == (3, 2)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"htm": "GET"}, "htm of the DPoP proof is not the method of the request"),
        *[({"htu": htu}, WRONG_URL) for htu in (f"{TOKEN_URL}s", "http://other.example/api/v1/token")],
        *[({"htu": htu}, WRONG_URL) for htu in ("https://localhost:3000/api/v1/token", 7, "http://[broken")],
        *[({"jti": jti}, WRONG_JTI) for jti in ("", "x" * (MAX_JTI_LENGTH + 1))],
        *[
            ({"iat": iat}, "iat of the DPoP proof is more than a minute before or after now")
            for iat in (0, 10**30, float("nan"), str(NOW), True)
        ],
        # A proof is valid for a minute.
        *[({"iat": NOW + age}, None) for age in (-MAX_AGE, MAX_AGE)],
        *[
            ({"iat": NOW + age}, "iat of the DPoP proof is more than a minute before or after now")
            for age in (-MAX_AGE - 1, MAX_AGE + 1)
        ],
        *[(wrong, NOT_SIGNED) for wrong in ({"jti": None}, {"iat": None}, {"jti": 7}, {"crit": ["exp"]})],
        *[({"typ": typ}, WRONG_HEADER) for typ in ("JWT", None)],
    ],
    ids=str,
)
def test_refuses_a_proof_that_breaks_a_rule(holder: Holder, changes: dict[str, Any], broken: str | None) -> None:
    assert rule(holder.proof("POST", TOKEN_URL, **changes)) == broken


def test_refuses_what_is_no_proof(holder: Holder, clock: Clock) -> None:
    proof = holder.proof("POST", TOKEN_URL)
    claims = jwt.decode(proof, options={"verify_signature": False})
    headers = {"typ": "dpop+jwt", "jwk": holder.jwk}
    for text in ("", "a.b.c", f"{proof}=", "x" * (MAX_LENGTH + 1), f"{proof},{holder.proof('POST', TOKEN_URL)}"):
        assert rule(text), text
    for other in (
        holder.proof("POST", TOKEN_URL, jwk=Holder(clock).jwk),
        jwt.encode(claims, "x" * 32, "HS256", headers=headers),
        jwt.encode(claims, None, "none", headers=headers),
    ):
        assert rule(other), other


@pytest.mark.parametrize(
    ("alg", "jwk", "broken"),
    [
        *[("ES256", jwk, "is refused: must be") for jwk in (None, {}, "text", {"kty": "oct", "k": "c2VjcmV0"})],
        ("ES256", {"d": "AQAB"}, "is refused: must be a public key"),
        ("ES256", {"key_ops": ["encrypt"]}, "is refused: key_ops must contain verify, and may also contain sign"),
        ("ES256", {"use": "enc"}, "is refused: use must be sig"),
        ("PS256", {"alg": "RS256"}, "does not fit its alg"),
        ("RS256", {"alg": "PS256"}, "does not fit its alg"),
        ("RS256", {"alg": "ES256"}, "is refused: alg must be RS256 or PS256"),
        ("ES256", jwk_of(KEYS["ES384"](), "ES384"), "is refused: alg must be ES384"),
        ("ES384", jwk_of(KEYS["ES256"](), "ES256"), "is refused: alg must be ES256"),
        ("PS256", jwk_of(KEYS["ES256"](), "ES256"), "is refused: alg must be ES256"),
        ("RS256", jwk_of(roca_key(), "RS256"), "is refused: is a weak RSA key (ROCA, CVE-2017-15361)"),
    ],
    # Each process has other keys.
    ids=lambda value: value if isinstance(value, str) else "jwk",
)
def test_refuses_a_key_that_is_for_something_else(clock: Clock, alg: str, jwk: Any, broken: str) -> None:
    holder = Holder(clock, alg)
    key = holder.jwk | jwk if isinstance(jwk, dict) and jwk and "kty" not in jwk else jwk
    broken_rule = rule(holder.proof("POST", TOKEN_URL, jwk=key)) or ""
    assert broken_rule.startswith(f"the key of the DPoP proof {broken}"), broken_rule


def test_a_proof_that_is_refused_issues_nothing(client: FlaskClient, cast: Cast, holder: Holder) -> None:
    proof, again = holder.proof("POST", TOKEN_URL), holder.proof("POST", TOKEN_URL)
    assert ask(client, cast.acme, again).status_code == 200
    for proofs, description in (
        ((proof, holder.proof("POST", TOKEN_URL)), "the DPoP proof must be a single JWT"),
        ((holder.proof("GET", TOKEN_URL),), "htm of the DPoP proof is not the method of the request"),
        ((holder.proof("POST", ISSUER + TREND),), WRONG_URL),
        ((again,), "the DPoP proof was used before"),
    ):
        assert whole(ask(client, cast.acme, *proofs)) == refused("invalid_dpop_proof", description)
    assert cast.acme.sums()["tokens"] == 1


def test_an_agent_that_must_bind_gets_no_bearer_token(client: FlaskClient, cast: Cast, holder: Holder) -> None:
    change(client, cast.acme, cast.acme, dpopBoundAccessTokens=True)
    description = "the agent must bind its tokens to a key: send a proof in the header DPoP"
    assert whole(ask(client, cast.acme)) == refused("invalid_dpop_proof", description)
    assert cast.acme.sums()["tokens"] == 0
    assert ask(client, cast.acme, holder.proof("POST", TOKEN_URL)).status_code == 200
