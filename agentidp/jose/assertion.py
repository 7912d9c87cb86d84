"""What all JWTs that authenticate a client have in common, whoever has signed them (RFC 7523)."""

from __future__ import annotations

import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agentidp.jose.jwk import MIN_RSA_BITS
from agentidp.jose.jws import NUMERIC_DATE_LIMIT

MAX_LENGTH = 8192
"""Maximum characters of an assertion."""

CLIENT_LEEWAY = 30
"""Maximum seconds by which a client's clock may differ from ours. Servers differ by less:
``agentidp.config.LEEWAY``."""

WRONG_SIGNATURE = "wrong signature"
"""The reason for an assertion that none of the tried keys has signed, in the words of the log."""

# The RSA modulus is a random number, so it has no private key.
_NOBODYS_MODULUS = 1 << (MIN_RSA_BITS - 1) | secrets.randbits(MIN_RSA_BITS - 1) | 1
_NOBODYS_RSA_KEY = rsa.RSAPublicNumbers(65_537, _NOBODYS_MODULUS).public_key()
NOBODYS_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "ES384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "RS256": _NOBODYS_RSA_KEY,
    "PS256": _NOBODYS_RSA_KEY,
    "EdDSA": ed25519.Ed25519PrivateKey.generate().public_key(),
}
"""A key per algorithm that signs nothing. A client without a key is verified with it, so that its failure takes as
long."""

MAX_SIGNATURES = {"RS256": 5, "PS256": 5, "ES256": 4, "EdDSA": 4, "ES384": 2}
"""Maximum keys per request with which an assertion is verified, by the algorithm of the key. So many verifications take
less than half a millisecond of processor time, or one with ES384: a failure must not cost more than twice a wrong
secret."""


def wrong_time(claims: dict[str, Any], now: float, max_lifetime: int) -> str | None:
    """Return what is wrong with the times of an assertion, in the words of the log, or ``None``.

    :param max_lifetime: seconds until ``exp``.
    """
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if "exp" not in times or not all(type(t) in (int, float) and 0 <= t <= NUMERIC_DATE_LIMIT for t in times.values()):
        return "wrong times"
    if times["exp"] <= now - CLIENT_LEEWAY:
        return "assertion expired"
    if times["exp"] > now + max_lifetime + CLIENT_LEEWAY:
        return "assertion valid for too long"
    if times.get("iat", now) > now + CLIENT_LEEWAY or times.get("nbf", now) > now + CLIENT_LEEWAY:
        return "assertion not yet valid"
    return None
