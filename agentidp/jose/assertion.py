"""Checks and limits for all JWTs that authenticate a client (RFC 7523), signed by the client or by another issuer."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agentidp.config import LEEWAY
from agentidp.jose.jwk import MIN_RSA_BITS
from agentidp.jose.jws import NUMERIC_DATE_LIMIT

MAX_LENGTH = 8192
"""Maximum number of characters of an assertion, which is a JWT that authenticates a client."""

CLIENT_LEEWAY = 30
"""Maximum seconds by which a client's clock may differ from ours. For servers, see ``agentidp.config.LEEWAY``."""

WRONG_SIGNATURE = "wrong signature"
"""The logged reason if no tried key has signed an assertion."""

WRONG_TIMES, EXPIRED, TOO_LONG, TOO_EARLY = (
    "wrong times",
    "assertion expired",
    "assertion valid for too long",
    "assertion not yet valid",
)
"""Logged reasons why an assertion is refused although its signature is valid."""

# The RSA modulus is a random number, so that nobody has the private key.
_NOBODYS_MODULUS = 1 << (MIN_RSA_BITS - 1) | secrets.randbits(MIN_RSA_BITS - 1) | 1
_NOBODYS_RSA_KEY = rsa.RSAPublicNumbers(65_537, _NOBODYS_MODULUS).public_key()
NOBODYS_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "ES384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "RS256": _NOBODYS_RSA_KEY,
    "PS256": _NOBODYS_RSA_KEY,
    "EdDSA": ed25519.Ed25519PrivateKey.generate().public_key(),
}
"""Public keys without known private keys, tried if a client has no key, so that all failures take equal time."""

MAX_SIGNATURES = {"RS256": 5, "PS256": 5, "ES256": 4, "EdDSA": 4, "ES384": 2}
"""Maximum number of a client's keys that are tried for an assertion, by algorithm. With these numbers, refusing an
assertion takes at most twice as long as refusing a secret."""


def compute_use_expiry(claims: dict[str, Any]) -> datetime:
    """Return the instant from which every server refuses an assertion as expired, whatever the server's clock."""
    # A server accepts an assertion until CLIENT_LEEWAY after exp. The clocks of two servers may differ by twice LEEWAY.
    return datetime.fromtimestamp(claims["exp"] + CLIENT_LEEWAY + 2 * LEEWAY, UTC)


def find_wrong_time(claims: dict[str, Any], now: float, max_lifetime: int) -> str | None:
    """Return the logged reason why an assertion's exp, iat or nbf is wrong, or ``None`` if all are right.

    :param now: the time of the request, in seconds since the epoch.
    :param max_lifetime: maximum seconds until ``exp``.
    """
    claim_times = {claim_name: claims[claim_name] for claim_name in ("exp", "iat", "nbf") if claim_name in claims}
    if "exp" not in claim_times or not all(
        type(claim_time) in (int, float) and 0 <= claim_time <= NUMERIC_DATE_LIMIT
        for claim_time in claim_times.values()
    ):
        return WRONG_TIMES
    if claim_times["exp"] <= now - CLIENT_LEEWAY:
        return EXPIRED
    if claim_times["exp"] > now + max_lifetime + CLIENT_LEEWAY:
        return TOO_LONG
    if claim_times.get("iat", now) > now + CLIENT_LEEWAY or claim_times.get("nbf", now) > now + CLIENT_LEEWAY:
        return TOO_EARLY
    return None
