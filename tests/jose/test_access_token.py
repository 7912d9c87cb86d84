"""Tokens that we did not issue, or that are for another server or not valid now, are refused in the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask.testing import FlaskClient

from agentidp.jose.access_token import LEEWAY
from tests.conftest import Cast
from tests.factories import NOON, Clock
from tests.helpers.access_token import CHALLENGE, Forge, encoded
from tests.helpers.introspection import INACTIVE, introspect
from tests.oauth.clients import ISSUER, NOW
from tests.routes import INVALID_TOKEN

SOMEBODY_ELSE = "6d7a1f0c-0000-4000-8000-000000000000"


def headers_of(**changes: list[Any]) -> dict[str, Callable[[Forge], str]]:
    """Return tokens that our key has signed, each with one of these headers."""
    return {
        f"{name} {value!r}"[:60]: lambda f, name=name, value=value: f.with_header(**{name: value})
        for name, values in changes.items()
        for value in values
    }


FORGED: dict[str, Callable[[Forge], str]] = {
    **{f"unsigned, alg {alg!r}": lambda f, alg=alg: f.unsigned(alg) for alg in ("none", "nOnE", "", None, 0, [])},
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
    "another key of another type": lambda f: f.sign(
        f.header | {"alg": "RS256"}, json.dumps(f.claims).encode(), rsa.generate_private_key(65537, 2048), "RS256"
    ),
    "kid ours and a NUL": lambda f: f.with_header(kid=f"{f.key.kid}\x00"),
    **headers_of(
        alg=["RS256", "ES384"],
        kid=[None, "unknown", "' or '1'='1", "../../../../dev/null", "\x00", "k" * 10_240, 1, ["x"], "\ud800"],
        crit=[["exp"], []],
        typ=[None, "JWT", "id+jwt", "dpop+jwt", "", "at", 1, ["at+jwt"], "application/jwt"],
    ),
    "b64 false": lambda f: f.with_header(b64=False, crit=["b64"]),
    **{
        f"without {claim}": lambda f, claim=claim: f.with_claims(**{claim: None})
        for claim in ("iss", "sub", "client_id", "aud", "exp", "iat", "jti", "organization_id")
    },
    **{
        f"{claim} {value!r}"[:60]: lambda f, claim=claim, value=value: f.with_claims(**{claim: value})
        for claim, values in {
            "iss": ["https://evil.example", "", f"{ISSUER}/", 1, [ISSUER]],
            "aud": [1, [], {}, ["https://evil.example"]],
            "sub": ["", 1, [], "agent", "\x00", SOMEBODY_ELSE],
            "client_id": ["", 1, [], "agent", SOMEBODY_ELSE],
            "organization_id": [1, [], True],
            "jti": [1, [], True],
            "scope": [1, ["agents:read"]],
            "exp": [str(NOW + 600), float(NOW + 600), 10**30, 10**400, -1, True, []],
            "iat": [str(NOW), float(NOW), 10**30, True, []],
            "nbf": [str(NOW), 10**30, True, []],
            "cnf": [{}, {"x5t#S256": "x"}, {"jkt": "a-thumbprint", "x5t#S256": "x"}, "x", []],
        }.items()
        for value in values
    },
    **{
        f"payload {payload[:30]!r}": lambda f, payload=payload: f.sign(f.header, payload)
        for payload in (b"[]", b"null", b"{", b'{"iss":"\xff"}', b"", b"[" * 1000)
    },
    "exp NaN": lambda f: f.with_claims(exp=math.nan),
    "exp Infinity": lambda f: f.with_claims(exp=math.inf),
    "aud twice, the last one in an array": lambda f: f.twice("aud", "https://evil.example", [f"{ISSUER}/api/v1"]),
    "a header that is a list": lambda f: f"{encoded(b'[]')}.{f.agent.token().partition('.')[2]}",
    "a header that is not JSON": lambda f: f"{encoded(b'{')}.{f.agent.token().partition('.')[2]}",
    **{
        f"our token and {end[:8]!r}": lambda f, end=end: f.agent.token() + end
        for end in ("=", "==", "A", ".x", ".x.y", "A" * 10_240)
    },
    "a character less": lambda f: f.agent.token()[:-1],
    "two parts": lambda f: f.agent.token().rpartition(".")[0],
    "the standard alphabet": lambda f: f.agent.token().partition(".")[0] + ".a+/b.c",
    "another's signature": lambda f: f.agent.token().rpartition(".")[0] + "." + f.agent.token().rpartition(".")[2],
    "empty parts": lambda _: "..",
    "two tokens": lambda f: f"{f.agent.token()},{f.agent.token()}",
}

LATER = NOW + LEEWAY + 1
NOT_FOR_US = "The access token is for {}, not for http://localhost:3000/api/v1. Leave out the parameter resource."
EXPIRED = "The access token expired at {}. Request a new one."
NOT_YET = "The access token is not valid before 2026-04-15T12:00:11Z. Send it later."
REVOKED = "The access token was revoked. Request a new one."
OURS: dict[str, tuple[Callable[[Forge], str], str]] = {
    "for another resource": (
        lambda f: f.with_claims(aud="https://files.example"),
        NOT_FOR_US.format("https://files.example"),
    ),
    "for nobody": (lambda f: f.with_claims(aud=""), NOT_FOR_US.format("")),
    "for an audience with a line break": (
        lambda f: f.with_claims(aud='a"\r\nb'),
        NOT_FOR_US.format('a"\r\nb'),
    ),
    "expired": (
        lambda f: f.agent.token(at=NOON - timedelta(seconds=3600 + LEEWAY)),
        EXPIRED.format("2026-04-15T11:59:50Z"),
    ),
    "exp at the epoch": (lambda f: f.with_claims(exp=0), EXPIRED.format("1970-01-01T00:00:00Z")),
    "exp twice": (lambda f: f.twice("exp", NOW + 600, 1), EXPIRED.format("1970-01-01T00:00:01Z")),
    "iat in the future": (lambda f: f.agent.token(at=NOON + timedelta(seconds=LEEWAY + 1)), NOT_YET),
    "nbf in the future": (lambda f: f.with_claims(nbf=LATER), NOT_YET),
    # Our key has signed the token, so only we could make it. The agent is not the organization's, and not admitted.
    "of another organization's making": (lambda f: f.with_claims(organization_id=f.organization_id), REVOKED),
}
"""Tokens that our key has signed, but that are not valid, and what the response says."""


@pytest.fixture(scope="module")
def forge(shared_cast: Cast) -> Forge:
    """Forges tokens of Acme's agent."""
    return Forge(shared_cast.acme, shared_cast.outsider.organization_id)


def test_what_is_forged_here_would_be_good_otherwise(shared_client: FlaskClient, forge: Forge) -> None:
    for good in (
        forge.with_claims(),
        forge.with_header(),
        forge.with_header(typ="application/at+jwt"),
        forge.with_header(typ="AT+JWT"),
        forge.with_claims(nbf=NOW + LEEWAY, iat=NOW + LEEWAY),
        forge.with_claims(exp=NOW - LEEWAY + 1),
        forge.twice("exp", 1, NOW + 600),
    ):
        headers = {"Authorization": f"Bearer {good}"}
        assert shared_client.get("/api/v1/agents", headers=headers).status_code == 200


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused_like_every_other_and_inactive(
    shared_client: FlaskClient, shared_cast: Cast, forge: Forge, name: str
) -> None:
    token = FORGED[name](forge)
    response = shared_client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json) == (401, INVALID_TOKEN)
    assert response.headers["WWW-Authenticate"] == CHALLENGE
    assert response.headers["Cache-Control"] == "no-store"
    for asker in (shared_cast.acme, shared_cast.outsider):
        assert introspect(shared_client, asker, token).json == INACTIVE


@pytest.mark.parametrize("name", OURS)
def test_the_holder_of_a_token_of_ours_learns_why_it_is_refused(
    shared_client: FlaskClient, shared_cast: Cast, forge: Forge, name: str
) -> None:
    make_token, message = OURS[name]
    token = make_token(forge)
    response = shared_client.get("/api/v1/agents", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json) == (401, INVALID_TOKEN | {"message": message})
    description = message.replace('"', "?").replace("\r", "?").replace("\n", "?")
    assert response.headers["WWW-Authenticate"] == CHALLENGE.replace(INVALID_TOKEN["message"], description)
    for asker in (shared_cast.acme, shared_cast.outsider):
        assert introspect(shared_client, asker, token).json == INACTIVE


def test_a_token_is_good_from_iat_to_exp_give_or_take_the_leeway(client: FlaskClient, cast: Cast, clock: Clock) -> None:
    token = cast.acme.bearer(ttl=60)

    def status(**delta: float) -> int:
        clock.now = NOON + timedelta(**delta)
        return client.get("/api/v1/agents", headers=token).status_code

    end = 60 + LEEWAY
    expected = {-LEEWAY - 1: 401, -LEEWAY: 200, 0: 200, 60: 200, end - 0.000001: 200, end: 401, end + 3600: 401}
    assert {seconds: status(seconds=seconds) for seconds in expected} == expected


def test_an_expired_one_counts_as_a_rejection_of_its_agent_and_a_forged_one_does_not(
    client: FlaskClient, cast: Cast
) -> None:
    expired = cast.acme.bearer(at=NOON - timedelta(hours=2))
    forged = {"Authorization": f"Bearer {Forge(cast.acme).by_another_key()}"}
    for headers in (expired, forged):
        assert client.get("/api/v1/agents", headers=headers).status_code == 401
    sums = cast.acme.sums()
    assert sums == {name: 1 if "rejected" in name else 0 for name in sums}
