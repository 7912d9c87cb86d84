"""Which public keys a client may have (RFC 7517, RFC 7518, RFC 8725)."""

from __future__ import annotations

import base64
import json
from math import prod
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flask.testing import FlaskClient
from joserfc.jwk import JWKRegistry
from jsonschema import Draft202012Validator

from agentidp.jose.dpop import compute_thumbprint
from agentidp.jose.jwk import build_jwk_schema, check_public_jwk
from agentidp.jose.rsa_weakness import find_weakness, has_roca_fingerprint
from tests.conftest import Cast
from tests.oauth.clients import KEYS, jwk_of
from tests.oauth.roca import roca_key

ROCA = "is a weak RSA key (ROCA, CVE-2017-15361): make a new one with other software or hardware"
EXPONENT = "e must be an odd number from 65537 to 4294967295"
ONLY_VERIFY = "key_ops must contain verify, and may also contain sign"
NO_STRINGS = "key_ops must be an array of strings"
OTHER_TYPE = "must be an RSA, P-256, P-384 or Ed25519 key"
PRIVATE = "must be a public key, without private members"
JWKS = {alg: jwk_of(make(), alg) for alg, make in KEYS.items()}


def rsa_jwk(modulus: int, exponent: int) -> dict[str, Any]:
    """The JWK of an RSA public key."""
    members = {"n": modulus, "e": exponent}
    return {"kty": "RSA"} | {
        name: base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
        for name, value in members.items()
    }


def rule(jwk: object) -> str | None:
    """Return the rule that a key breaks, or ``None``."""
    try:
        check_public_jwk(jwk)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("kind", "members", "kept"),
    [
        ("ES256", {}, "ES256"),
        ("ES384", {}, "ES384"),
        ("ES384", {"alg": "ES384"}, "ES384"),
        ("RS256", {}, "RS256"),
        ("RS256", {"alg": "PS256"}, "PS256"),
        ("EdDSA", {}, "EdDSA"),
        ("EdDSA", {"alg": "Ed25519"}, "EdDSA"),
        ("ES256", {"key_ops": ["verify"], "use": "sig"}, "ES256"),
        ("RS256", {"key_ops": ["sign", "verify"]}, "RS256"),
    ],
)
def test_a_key_is_for_its_alg_or_that_of_its_type(kind: str, members: dict[str, Any], kept: str) -> None:
    """RFC 8725 section 3.1."""
    jwk = JWKS[kind] | members
    key = check_public_jwk(jwk)
    assert (key["alg"], key["use"], "key_ops" in key) == (kept, "sig", False)
    assert Draft202012Validator(build_jwk_schema()).is_valid(jwk)


@pytest.mark.parametrize(
    ("kind", "members", "broken"),
    [
        # RFC 7517 section 4.3.
        *[
            ("ES256", {"key_ops": key_ops}, ONLY_VERIFY)
            for key_ops in (["sign"], [], ["Verify"], ["verify", "encrypt"], ["verify", "sign", "deriveKey"])
        ],
        ("ES256", {"key_ops": ["verify", "verify"]}, "key_ops must not contain an operation twice"),
        *[("ES256", {"key_ops": key_ops}, NO_STRINGS) for key_ops in ("verify", {"verify": 1}, ["verify", 1], None)],
        ("ES256", {"key_ops": ["verify"], "use": "enc"}, "use must be sig"),
        ("ES384", {"alg": "ES256"}, "alg must be ES384"),
        ("ES256", {"alg": "ES384"}, "alg must be ES256"),
        *[("RS256", {"alg": alg}, "alg must be RS256 or PS256") for alg in ("RS384", "RSA-OAEP", ["PS256"], None)],
        ("EdDSA", {"alg": "ES256"}, "alg must be EdDSA or Ed25519"),
        *[
            ("ES384", other, OTHER_TYPE)
            for other in ({"crv": "P-521"}, {"crv": None}, {"crv": ["P-384"]}, {"kty": ["EC"]})
        ],
    ],
    ids=str,
)
def test_what_is_for_something_else_is_refused(kind: str, members: dict[str, Any], broken: str) -> None:
    jwk = JWKS[kind] | members
    assert rule(jwk) == broken
    assert not Draft202012Validator(build_jwk_schema()).is_valid(jwk)


def test_a_point_of_another_curve_is_no_key() -> None:
    assert rule(JWKS["ES384"] | {"crv": "P-256"}) == "is not a valid key"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_private_member_is_refused(member: str) -> None:
    """RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, whatever the type of the key."""
    for alg in ("ES256", "RS256", "EdDSA"):
        assert rule(JWKS[alg] | {member: "AQAB"}) == PRIVATE


class TestRsa:
    """A modulus that can be factored, and exponents that are too small or cost too much."""

    @pytest.mark.slow
    def test_takes_ordinary_keys(self) -> None:
        for bits in [2048] * 12 + [3072, 4096]:
            numbers = rsa.generate_private_key(65_537, bits).public_key().public_numbers()
            assert rule(rsa_jwk(numbers.n, numbers.e)) is None

    @pytest.mark.parametrize("prime", [11, 13, 17, 37, 157])
    def test_one_small_prime_tells_that_a_modulus_has_no_fingerprint(self, prime: int) -> None:
        others = prod(p for p in range(2, 168) if all(p % q for q in range(2, p))) // prime
        n = roca_key().public_key().public_numbers().n
        # The moduli are the same modulo the other primes, and have every residue modulo this prime.
        has = [has_roca_fingerprint(n + k * others) for k in range(prime)]
        powers = {pow(65_537, a, prime) for a in range(prime)}
        assert sum(has) == len(powers) < prime - 1

    def test_exponents_have_17_to_32_bits_and_are_odd(self) -> None:
        modulus = rsa.generate_private_key(65_537, 2048).public_key().public_numbers().n
        for exponent in (65_537, 65_539, 2**31 - 1, 2**32 - 1):
            assert rule(rsa_jwk(modulus, exponent)) is None
        for exponent in (3, 17, 257, 65_535, 2**32 + 1, 2**255 + 1):
            assert rule(rsa_jwk(modulus, exponent)) == EXPONENT
        for exponent in (0, 1, 2, 65_538):
            assert find_weakness(modulus, exponent) == EXPONENT
            assert rule(rsa_jwk(modulus, exponent)) in (EXPONENT, "is not a valid key")


@pytest.mark.parametrize("alg", KEYS)
def test_the_thumbprint_is_that_of_a_library(alg: str) -> None:
    """RFC 7638."""
    kept = check_public_jwk(JWKS[alg] | {"alg": alg})
    assert compute_thumbprint(kept) == JWKRegistry.import_key(kept).thumbprint()


@pytest.mark.parametrize("form", ["jwk", "jwks"])
def test_registration_names_the_field_and_the_rule(shared_client: FlaskClient, shared_cast: Cast, form: str) -> None:
    numbers = roca_key().public_key().public_numbers()
    private = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(KEYS["ES256"]()))
    assert numbers.n.bit_length() == 2048
    path = f"/api/v1/agents/{shared_cast.acme.client_id}/credentials"
    for jwk, broken in ((rsa_jwk(numbers.n, numbers.e), ROCA), (private, PRIVATE)):
        body = {form: jwk if form == "jwk" else {"keys": [jwk]}}
        response = shared_client.post(path, json=body, headers=shared_cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (400, {form: [broken]})
