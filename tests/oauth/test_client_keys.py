"""Which public keys a client may have (RFC 7517, RFC 7518, RFC 8725)."""

from __future__ import annotations

from typing import Any

import pytest
from joserfc.jwk import JWKRegistry
from jsonschema import Draft202012Validator

from agentidp.oauth.client_keys import jwk_json_schema, public_jwk
from agentidp.oauth.dpop import thumbprint

from .test_token_endpoint import KEYS, jwk_of


def rule(jwk: object) -> str | None:
    """The rule that a key breaks, if it breaks one."""
    try:
        public_jwk(jwk)
    except ValueError as error:
        return str(error)
    return None


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
