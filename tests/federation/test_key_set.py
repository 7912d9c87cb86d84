"""Which of an issuer's keys may have signed a token, and how many keys are parsed."""

from __future__ import annotations

import pytest

from agentidp.federation import key_set
from agentidp.federation.key_set import MAX_KEYS, MAX_PARSED, KeySet
from agentidp.jose.assertion import MAX_SIGNATURES
from tests.federation.issuer import Issuer


class TestKeySet:
    """Only suitable keys verify a token."""

    def test_keys_for_something_else_are_left_out(self) -> None:
        issuer, bundle = Issuer.with_curve(), Issuer.with_curve(kid="svid")
        jwks = [
            issuer.jwk(use="enc"),
            issuer.jwk(alg="ES384"),
            issuer.jwk(alg="none"),
            issuer.jwk(key_ops=["encrypt"]),
            issuer.jwk(kid=["first"]),
            issuer.jwk(crv="P-521"),
            {"kty": "oct", "k": "AAAA", "kid": "first", "alg": "HS256"},
            "first",
            None,
            bundle.jwk(use="x509-svid", alg=None),
            bundle.jwk(use="jwt-svid", alg=None),
        ]
        assert KeySet(jwks).find_keys("first", "ES256") == []
        assert len(KeySet(jwks).find_keys("svid", "ES256")) == 1
        assert len(KeySet([*jwks, issuer.jwk(alg=None, use=None)]).find_keys("first", "ES256")) == 1

    def test_a_key_that_names_no_algorithm_is_for_any_of_its_kind(self) -> None:
        jwks = [Issuer().jwk(alg=None)]
        algorithms = ("RS256", "PS256", "ES256", "EdDSA")
        assert [len(KeySet(jwks).find_keys("first", alg)) for alg in algorithms] == [1, 1, 0, 0]

    def test_a_token_without_kid_is_tried_with_few_of_many_keys(self) -> None:
        jwk = Issuer.with_curve().jwk()
        many = KeySet([jwk | {"kid": str(n)} for n in range(MAX_KEYS + 1)])
        assert len(many.find_keys(None, "ES256")) == MAX_SIGNATURES["ES256"]
        assert len(many.find_keys(str(MAX_KEYS - 1), "ES256")) == 1
        assert many.find_keys(str(MAX_KEYS), "ES256") == []
        # Few keys are remembered ready for use.
        [first], _ = many.find_keys("0", "ES256"), [many.find_keys(str(n + 1), "ES256") for n in range(MAX_PARSED)]
        assert many.find_keys("0", "ES256")[0] is not first

    def test_of_many_keys_one_is_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A token does not take longer if its issuer has many keys."""
        parsed: list[str] = []
        check = key_set.check_public_jwk
        monkeypatch.setattr(key_set, "check_public_jwk", lambda jwk: parsed.append(jwk["kid"]) or check(jwk))
        jwk = Issuer.with_curve().jwk()
        keys = KeySet([jwk | {"kid": str(n)} for n in range(MAX_KEYS)])
        for _ in range(2):
            assert len(keys.find_keys(str(MAX_KEYS - 1), "ES256")) == 1
        assert parsed == [str(MAX_KEYS - 1)]
