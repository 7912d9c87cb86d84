"""The keys of an issuer, and which of them may have signed a token."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jwt

from agentidp.jose.assertion import MAX_SIGNATURES
from agentidp.jose.jwk import check_public_jwk, list_key_algorithms, normalize_algorithm

MAX_KEYS, MAX_PARSED = 500, 10
"""Maximum number of cached keys per issuer, and of pairs of ``kid`` and ``alg`` whose parsed keys are cached."""

_SAME_KEY = {"RS384": "RS256", "RS512": "RS256", "PS384": "PS256", "PS512": "PS256"}
"""Algorithms of ID tokens, each with the supported algorithm that uses the same keys."""


class KeySource(NamedTuple):
    """An issuer and the address of its keys. The address is ``None`` if the issuer's metadata names it."""

    issuer: str
    jwks_uri: str | None


class KeySet:
    """The keys of an issuer, which are parsed when a token needs them."""

    def __init__(self, jwks: list[Any]) -> None:
        usable_jwks = [jwk for jwk in map(read_usable_jwk, jwks) if jwk is not None][:MAX_KEYS]
        # The keys are stored as JSON, because parsed keys take 25 times as much memory.
        self._jwks = [(jwk.get("kid"), list_key_algorithms(jwk), json.dumps(jwk)) for jwk in usable_jwks]
        self._parsed: dict[tuple[str | None, str], list[Any]] = {}

    def find_keys(self, kid: str | None, alg: str) -> list[Any]:
        """Return the parsed keys that may have made the signature of a token with a ``kid`` and an ``alg``."""
        valid_keys = self._parsed.get((kid, alg))
        if valid_keys is None:
            stored_alg = normalize_algorithm(_SAME_KEY.get(alg, alg))
            matching_jwks = [
                jwk_json
                for jwk_kid, jwk_algs, jwk_json in self._jwks
                if kid in (None, jwk_kid) and stored_alg in jwk_algs
            ]
            # The number of keys is limited before the keys are parsed, because an issuer could publish hundreds of
            # invalid keys.
            parsed_keys = (_parse_key(jwk_json, alg) for jwk_json in matching_jwks[: MAX_SIGNATURES[stored_alg]])
            valid_keys = [key for key in parsed_keys if key is not None]
            if matching_jwks:
                if len(self._parsed) >= MAX_PARSED:
                    self._parsed.clear()
                self._parsed[kid, alg] = valid_keys
        return valid_keys


def _parse_key(jwk_json: str, alg: str) -> Any:
    jwk = json.loads(jwk_json)
    if normalize_algorithm(jwk.get("alg", alg)) != normalize_algorithm(alg):
        return None
    try:
        return jwt.PyJWK.from_dict(check_public_jwk(jwk | {"alg": _SAME_KEY.get(alg, alg)})).key
    except ValueError:
        return None


def read_usable_jwk(jwk: Any) -> dict[str, Any] | None:
    """Return a JWK that may verify tokens; ``None`` if the JWK is malformed or has another use."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") not in ("sig", "jwt-svid"):
        return None
    if not isinstance(jwk.get("kid", ""), str):
        return None
    flat_jwk = remove_nested_members(jwk)
    # SPIFFE bundles mark keys for tokens with the use jwt-svid instead of sig.
    return flat_jwk | {"use": "sig"} if flat_jwk.get("use") == "jwt-svid" else flat_jwk


def remove_nested_members(json_object: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object without nested members, which nobody reads and which could be too deep to parse again."""
    return {member_name: value for member_name, value in json_object.items() if not _is_nested(value)}


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(item, str) for item in value))
