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

from agentidp.jose.dpop import thumbprint
from agentidp.jose.jwk import jwk_json_schema, public_jwk
from agentidp.jose.rsa_weakness import has_roca_fingerprint, weakness
from tests.conftest import Cast
from tests.oauth.roca import roca_key
from tests.oauth.test_token_endpoint import KEYS, jwk_of

ROCA = "is a weak RSA key (ROCA, CVE-2017-15361): make a new one with other software or hardware"
EXPONENT = "e must be an odd number from 65537 to 4294967295"
ONLY_VERIFY = "key_ops must hold verify, and nothing else but sign"


def rsa_jwk(modulus: int, exponent: int) -> dict[str, Any]:
    """The JWK of an RSA public key."""
    members = {"n": modulus, "e": exponent}
    return {"kty": "RSA"} | {
        name: base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
        for name, value in members.items()
    }


def rule(jwk: object) -> str | None:
    """The rule that a key breaks, if it breaks one."""
    try:
        public_jwk(jwk)
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def modulus() -> int:
    """An ordinary one."""
    return rsa.generate_private_key(65_537, 2048).public_key().public_numbers().n


class TestKeyOps:
    """RFC 7517 section 4.3."""

    @pytest.mark.parametrize("use", [{}, {"use": "sig"}])
    @pytest.mark.parametrize("key_ops", [["verify"], ["sign", "verify"], ["verify", "sign"]])
    @pytest.mark.parametrize("alg", KEYS)
    def test_may_be_there_if_it_is_for_verification(self, alg: str, key_ops: list[str], use: dict[str, str]) -> None:
        kept = public_jwk(jwk_of(KEYS[alg](), alg, alg=alg) | {"key_ops": key_ops} | use)
        assert (kept["use"], "key_ops" in kept) == ("sig", False)

    @pytest.mark.parametrize(
        ("key_ops", "broken"),
        [
            (["encrypt"], ONLY_VERIFY),
            (["sign"], ONLY_VERIFY),
            ([], ONLY_VERIFY),
            (["Verify"], ONLY_VERIFY),
            (["verify", "encrypt"], ONLY_VERIFY),
            (["verify", "sign", "deriveKey"], ONLY_VERIFY),
            (["verify", "verify"], "key_ops must not hold an operation twice"),
            ("verify", "key_ops must be an array of strings"),
            ({"verify": True}, "key_ops must be an array of strings"),
            (["verify", 1], "key_ops must be an array of strings"),
            ([["verify"]], "key_ops must be an array of strings"),
            (None, "key_ops must be an array of strings"),
        ],
        ids=str,
    )
    def test_must_be_for_verification(self, key_ops: object, broken: str) -> None:
        jwk = jwk_of(KEYS["ES256"](), "ES256") | {"key_ops": key_ops}
        assert rule(jwk) == broken
        assert not Draft202012Validator(jwk_json_schema()).is_valid(jwk)

    def test_must_agree_with_use(self) -> None:
        assert rule(jwk_of(KEYS["ES256"](), "ES256") | {"key_ops": ["verify"], "use": "enc"}) == "use must be sig"


class TestRsa:
    """A modulus that can be factored, and exponents that are too small or cost too much."""

    def test_refuses_a_roca_key(self) -> None:
        numbers = roca_key().public_key().public_numbers()
        assert numbers.n.bit_length() == 2048
        assert rule(rsa_jwk(numbers.n, numbers.e)) == ROCA

    @pytest.mark.slow
    def test_takes_ordinary_keys(self) -> None:
        for bits in [2048] * 12 + [3072, 4096]:
            numbers = rsa.generate_private_key(65_537, bits).public_key().public_numbers()
            assert rule(rsa_jwk(numbers.n, numbers.e)) is None

    @pytest.mark.parametrize("prime", [11, 13, 17, 37, 157])
    def test_one_small_prime_tells_that_a_modulus_has_no_fingerprint(self, prime: int) -> None:
        others = prod(p for p in range(2, 168) if all(p % q for q in range(2, p))) // prime
        n = roca_key().public_key().public_numbers().n
        # The same modulo the others, and every residue modulo this one.
        has = [has_roca_fingerprint(n + k * others) for k in range(prime)]
        powers = {pow(65_537, a, prime) for a in range(prime)}
        assert sum(has) == len(powers) < prime - 1

    @pytest.mark.parametrize("exponent", [65_537, 65_539, 2**31 - 1, 2**32 - 1])
    def test_takes_exponents_of_17_to_32_bits(self, modulus: int, exponent: int) -> None:
        assert rule(rsa_jwk(modulus, exponent)) is None

    @pytest.mark.parametrize("exponent", [3, 17, 257, 65_535, 2**32 + 1, 2**255 + 1])
    def test_refuses_other_exponents(self, modulus: int, exponent: int) -> None:
        assert rule(rsa_jwk(modulus, exponent)) == EXPONENT

    @pytest.mark.parametrize("exponent", [0, 1, 2, 65_538])
    def test_refuses_what_is_no_exponent(self, modulus: int, exponent: int) -> None:
        assert weakness(modulus, exponent) == EXPONENT
        assert rule(rsa_jwk(modulus, exponent)) in (EXPONENT, "is not a valid key")


class TestAlgorithm:
    """A key is for one algorithm (RFC 8725 section 3.1)."""

    @pytest.mark.parametrize(
        ("kind", "alg", "kept"),
        [
            ("ES256", None, "ES256"),
            ("ES384", None, "ES384"),
            ("ES384", "ES384", "ES384"),
            ("RS256", None, "RS256"),
            ("RS256", "PS256", "PS256"),
            ("EdDSA", None, "EdDSA"),
            ("EdDSA", "Ed25519", "EdDSA"),
        ],
    )
    def test_is_its_alg_or_that_of_its_type(self, kind: str, alg: str | None, kept: str) -> None:
        jwk = jwk_of(KEYS[kind](), kind) | ({} if alg is None else {"alg": alg})
        assert public_jwk(jwk)["alg"] == kept
        assert Draft202012Validator(jwk_json_schema()).is_valid(jwk)

    @pytest.mark.parametrize(
        ("kind", "alg", "broken"),
        [
            ("ES384", "ES256", "alg must be ES384"),
            ("ES256", "ES384", "alg must be ES256"),
            ("RS256", "RS384", "alg must be RS256 or PS256"),
            ("RS256", "RSA-OAEP", "alg must be RS256 or PS256"),
            ("RS256", ["PS256"], "alg must be RS256 or PS256"),
            ("RS256", None, "alg must be RS256 or PS256"),
            ("EdDSA", "ES256", "alg must be EdDSA or Ed25519"),
        ],
    )
    def test_must_be_one_of_its_type(self, kind: str, alg: object, broken: str) -> None:
        jwk = jwk_of(KEYS[kind](), kind) | {"alg": alg}
        assert rule(jwk) == broken
        assert not Draft202012Validator(jwk_json_schema()).is_valid(jwk)

    @pytest.mark.parametrize("members", [{"crv": "P-521"}, {"crv": None}, {"crv": ["P-384"]}, {"kty": ["EC"]}], ids=str)
    def test_other_curves_are_refused(self, members: dict[str, Any]) -> None:
        jwk = jwk_of(KEYS["ES384"](), "ES384") | members
        assert rule(jwk) == "must be an RSA, P-256, P-384 or Ed25519 key"
        assert rule(jwk_of(KEYS["ES384"](), "ES384", crv="P-256")) == "is not a valid key"


@pytest.mark.parametrize("alg", KEYS)
def test_the_thumbprint_is_that_of_a_library(alg: str) -> None:
    """RFC 7638."""
    kept = public_jwk(jwk_of(KEYS[alg](), alg, alg=alg))
    assert thumbprint(kept) == JWKRegistry.import_key(kept).thumbprint()


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_private_member_is_refused(member: str) -> None:
    """RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1, whatever the type of the key."""
    for alg in ("ES256", "RS256", "EdDSA"):
        with pytest.raises(ValueError, match="must be a public key: it holds private members"):
            public_jwk(jwk_of(KEYS[alg](), alg) | {member: "AQAB"})


@pytest.mark.parametrize("form", ["jwk", "jwks"])
def test_registration_names_the_field_and_the_rule(shared_client: FlaskClient, shared_cast: Cast, form: str) -> None:
    numbers = roca_key().public_key().public_numbers()
    encrypts = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEYS["ES256"]().public_key())) | {"key_ops": ["encrypt"]}
    path = f"/api/v1/agents/{shared_cast.acme.client_id}/credentials"
    for jwk, broken in ((rsa_jwk(numbers.n, numbers.e), ROCA), (encrypts, ONLY_VERIFY)):
        body = {form: jwk if form == "jwk" else {"keys": [jwk]}}
        response = shared_client.post(path, json=body, headers=shared_cast.acme.bearer())
        assert (response.status_code, response.json["details"]) == (400, {form: [broken]})
