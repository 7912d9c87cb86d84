"""``private_key_jwt``: a client authenticates with a JWT that it has signed (RFC 7523).

The audience rule is draft-ietf-oauth-rfc7523bis's: the issuer and nothing else, so that an assertion made for another
server cannot be replayed here. A setting allows the token endpoint as well, which older libraries send.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agentidp.config import LEEWAY
from agentidp.jose.jwk import ALGORITHMS, MIN_RSA_BITS, key_algorithm
from agentidp.jose.jws import MAX_JTI_LENGTH, NUMERIC_DATE_LIMIT, UnverifiedJwt, read_unverified
from agentidp.oauth.issuance import Client
from agentidp.services import Services

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPES = (None, "jwt", "client-authentication+jwt")
"""Values of ``typ``, in lower case; the last is rfc7523bis's."""

CLIENT_LEEWAY = 30
"""Seconds by which a client's clock may differ from ours. Servers differ by less: ``agentidp.config.LEEWAY``."""

MAX_LIFETIME = 3600
"""Seconds until ``exp``. A used ``jti`` is kept until then, and for both leeways, so longer assertions are refused."""

MAX_LENGTH = 8192
"""Characters of an assertion."""

MAX_KEYS_TRIED = 10
"""Keys of a client that an assertion is verified against, which limits the cost of a request."""

MAX_REMEMBERED = 10_000
"""Keys of clients that a process remembers, about 20 MB. Only an authentic assertion adds one."""

WRONG_AUDIENCE = "wrong audience"
"""The reason why an assertion that the client has signed is refused. The response says so: the client holds the key."""

WRONG_SIGNATURE = "wrong signature"
"""The reason why an assertion is refused that no key of the client has signed."""

# Used if a client has no key, so that the failure takes as long as for a client with one. The RSA modulus is a random
# number, so it has no private key.
_NOBODYS_MODULUS = 1 << (MIN_RSA_BITS - 1) | secrets.randbits(MIN_RSA_BITS - 1) | 1
_NOBODYS_RSA_KEY = rsa.RSAPublicNumbers(65_537, _NOBODYS_MODULUS).public_key()
NOBODYS_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "ES384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "RS256": _NOBODYS_RSA_KEY,
    "PS256": _NOBODYS_RSA_KEY,
    "EdDSA": ed25519.Ed25519PrivateKey.generate().public_key(),
}


def read(text: str) -> UnverifiedJwt | None:
    """An assertion before its signature is verified, or ``None`` if it is not one that can be accepted."""
    return read_unverified(text, max_length=MAX_LENGTH, types=TYPES, algorithms=ALGORITHMS)


def named_client(unverified: UnverifiedJwt) -> str | None:
    """The ``client_id`` of a client that has signed the assertion itself; ``None`` if it names another issuer."""
    subject = unverified.claims.get("sub")
    return subject if isinstance(subject, str) and unverified.claims.get("iss") == subject else None


def verify(s: Services, unverified: UnverifiedJwt, organization_id: str, agent_id: UUID, at: datetime) -> Client:
    """Verify an assertion against at most :data:`MAX_KEYS_TRIED` of the client's keys (RFC 7523 section 3).

    The key that verified the client's last assertion is tried first, from memory. The statement that issues the token
    checks that a credential in force still holds it. Any other key is read from the database, so a failure takes the
    same queries and as many signatures as it does for a client that is not remembered.

    :returns: the client, with the key that has verified the assertion, or with none and a reason if nothing fits: the
        statement that issues the token then finds nobody, as for a wrong secret.
    """
    alg, kid = unverified.alg, unverified.kid
    remembered = s.client_keys.get((agent_id, alg, kid))
    refusal: str | None = "unknown key"
    if remembered is not None:
        refusal = _refusal(s, unverified, remembered[1], at)
        if refusal is None:
            return _authentic(organization_id, agent_id, remembered[0], unverified.claims)
    candidates = s.database.of(organization_id, at).fetch(
        "oauth/client_keys", agent_id=agent_id, alg=key_algorithm(alg), kid=kid, most=MAX_KEYS_TRIED
    )
    tried = [] if remembered is None else [remembered[0]]
    for row in candidates:
        jwk = json.dumps([row.jwk])
        if jwk in tried or len(tried) >= MAX_KEYS_TRIED:
            continue
        tried.append(jwk)
        key = jwt.PyJWK.from_dict(row.jwk).key
        found = _refusal(s, unverified, key, at)
        if found is None:
            if len(s.client_keys) >= MAX_REMEMBERED:
                s.client_keys.clear()
            s.client_keys[agent_id, alg, kid] = jwk, key
            return _authentic(organization_id, agent_id, jwk, unverified.claims)
        # What is wrong beside the signature is known of the key that has made it.
        if found != WRONG_SIGNATURE or refusal == "unknown key":
            refusal = found
    if not tried:
        _refusal(s, unverified, NOBODYS_KEYS[key_algorithm(alg)], at)
    return Client(organization_id, agent_id, refusal=refusal)


def _authentic(organization_id: str, agent_id: UUID, jwk: str, claims: dict[str, Any]) -> Client:
    return Client(
        organization_id,
        agent_id,
        jwk=jwk,
        digest=hashlib.sha256(json.dumps([str(agent_id), claims["jti"]]).encode()).digest(),
        # As AccessToken.refused_from: servers' clocks differ.
        expires_at=datetime.fromtimestamp(claims["exp"] + CLIENT_LEEWAY + 2 * LEEWAY, UTC),
    )


def _refusal(s: Services, unverified: UnverifiedJwt, key: Any, at: datetime) -> str | None:
    """Why an assertion is refused, in the words of the log; ``None`` if *key* has signed it and it is right."""
    if not unverified.is_signed_by(key):
        return WRONG_SIGNATURE
    audience, jti = unverified.claims.get("aud"), unverified.claims.get("jti")
    if (audience[0] if isinstance(audience, list) and len(audience) == 1 else audience) != s.settings.issuer:
        return WRONG_AUDIENCE
    if not isinstance(jti, str) or not 1 <= len(jti) <= MAX_JTI_LENGTH:
        return "wrong jti"
    return wrong_time(unverified.claims, at.timestamp(), MAX_LIFETIME)


def wrong_time(claims: dict[str, Any], now: float, max_lifetime: int) -> str | None:
    """What is wrong with the times of an assertion, in the words of the log.

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
