"""The keys of other issuers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jwt

from agentidp.jose.jwk import key_algorithm, public_jwk

MAX_KEYS_TRIED = 10
"""Keys of an issuer that a token without ``kid`` is verified against, which limits the cost of a request."""


class KeySource(NamedTuple):
    """Where an issuer's keys are.

    :param jwks_uri: of its JWK Set; ``None`` if the issuer's metadata says it.
    """

    issuer: str
    jwks_uri: str | None


class KeySet:
    """Keys of one issuer. A key is parsed when a token first asks for it."""

    def __init__(self, jwks: list[Any]) -> None:
        self._jwks = [usable for usable in map(usable_jwk, jwks) if usable is not None]
        self._kids = {jwk.get("kid") for jwk in self._jwks}
        self._parsed: dict[tuple[str | None, str], list[Any]] = {}

    def find(self, kid: str | None, alg: str) -> list[Any]:
        """The keys that may have made a signature with *alg*, at most :data:`MAX_KEYS_TRIED`. A key that names no
        algorithm may be for any of its kind.

        :param kid: which the token names. A token without one may be signed by any of them.
        """
        if kid is not None and kid not in self._kids:
            return []
        known = self._parsed.get((kid, alg))
        if known is None:
            known = self._parsed[kid, alg] = self._parse(kid, alg)
        return known

    def _parse(self, kid: str | None, alg: str) -> list[Any]:
        found: list[Any] = []
        for jwk in self._jwks:
            if kid is not None and jwk.get("kid") != kid:
                continue
            try:
                checked = public_jwk(jwk, alg)
            except ValueError:
                continue
            if checked["alg"] == key_algorithm(alg):
                found.append(jwt.PyJWK.from_dict(checked).key)
            if len(found) == MAX_KEYS_TRIED:
                break
        return found


def usable_jwk(jwk: Any) -> dict[str, Any] | None:
    """A member of a JWK Set that may verify tokens, or ``None``: a set may have keys for something else.

    A SPIFFE bundle says ``jwt-svid`` where others say ``sig``, and has the keys of certificates beside them (SPIFFE
    Trust Domain and Bundle section 4.2.2).
    """
    if not isinstance(jwk, dict) or jwk.get("use", "sig") not in ("sig", "jwt-svid"):
        return None
    if not isinstance(jwk.get("kid", ""), str):
        return None
    return jwk | {"use": "sig"} if jwk.get("use") == "jwt-svid" else jwk
