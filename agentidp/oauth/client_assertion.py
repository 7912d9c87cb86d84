"""``private_key_jwt``: a client authenticates with a JWT that it has signed (RFC 7523)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import jwt

from agentidp.jose.assertion import (
    MAX_LENGTH,
    MAX_SIGNATURES,
    NOBODYS_KEYS,
    WRONG_SIGNATURE,
    compute_use_expiry,
    find_wrong_time,
)
from agentidp.jose.jwk import ALGORITHMS, normalize_algorithm
from agentidp.jose.jws import MAX_JTI_LENGTH, UnverifiedJwt, parse_jwt
from agentidp.oauth.client import Client
from agentidp.services import Services

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPES = (None, "jwt", "client-authentication+jwt")
"""Accepted values of ``typ``, in lower case. The last value is from rfc7523bis."""

MAX_LIFETIME = 3600
"""Maximum seconds until ``exp``, because each used ``jti`` is stored until its assertion has expired."""

MAX_REMEMBERED = 10_000
"""Maximum number of client keys that a process caches (20 MB). A key is cached when it verifies an assertion."""

WRONG_AUDIENCE, WRONG_JTI, USED_BEFORE = "wrong audience", "wrong jti", "assertion used before"
"""Logged reasons why an assertion is refused although a key of the client has signed it."""


def read_assertion(assertion: str) -> UnverifiedJwt | None:
    """Parse an assertion. Return ``None`` for a string that is not a JWT with equal ``iss`` and ``sub``."""
    unverified_jwt = parse_jwt(assertion, max_length=MAX_LENGTH, types=TYPES, algorithms=ALGORITHMS)
    if unverified_jwt is None or not isinstance(unverified_jwt.claims.get("sub"), str):
        return None
    return unverified_jwt if unverified_jwt.claims.get("iss") == unverified_jwt.claims["sub"] else None


def verify_assertion(services: Services, unverified_jwt: UnverifiedJwt, client: Client, at: datetime) -> Client:
    """Verify an assertion with at most :data:`MAX_SIGNATURES` of the client's keys (RFC 7523 section 3).

    The key that verified the client's last assertion is tried first. The statement that issues the token checks that a
    valid credential still has the key.

    :returns: the client with the key that verified the assertion or, if no key did, with the reason as its ``refusal``.
    """
    algorithm, kid = normalize_algorithm(unverified_jwt.alg), unverified_jwt.kid
    remembered_key = services.client_keys.get((client.agent_id, algorithm, kid))
    max_keys = MAX_SIGNATURES[algorithm]

    def read_keys() -> Iterator[tuple[str, Any]]:
        key_rows = services.database.of(client.organization_id, at).fetch(
            "oauth/client_keys", agent_id=client.agent_id, alg=algorithm, kid=kid, max_keys=max_keys
        )
        for jwk_json, jwk in {json.dumps([key_row.jwk]): key_row.jwk for key_row in key_rows}.items():
            if remembered_key is None or jwk_json != remembered_key[0]:
                yield jwk_json, jwt.PyJWK.from_dict(jwk).key

    assertion_refusal: str | None = "unknown key"
    # If the remembered key fails, the other keys are tried too, so that a failure always takes the same time.
    keys_to_try = itertools.chain([] if remembered_key is None else [remembered_key], read_keys())
    for jwk_json, public_key in itertools.islice(keys_to_try, max_keys):
        key_refusal = _find_assertion_refusal(services, unverified_jwt, public_key, at)
        if key_refusal is None:
            if len(services.client_keys) >= MAX_REMEMBERED:
                services.client_keys.clear()
            services.client_keys[client.agent_id, algorithm, kid] = jwk_json, public_key
            return _add_verified_key(client, jwk_json, unverified_jwt.claims)
        # WRONG_SIGNATURE must not replace the more useful reason that was found with the key that signed the assertion.
        if key_refusal != WRONG_SIGNATURE or assertion_refusal == "unknown key":
            assertion_refusal = key_refusal
    if assertion_refusal == "unknown key":
        _find_assertion_refusal(services, unverified_jwt, NOBODYS_KEYS[algorithm], at)
    return replace(client, refusal=assertion_refusal)


def _add_verified_key(client: Client, jwk_json: str, claims: dict[str, Any]) -> Client:
    return replace(
        client,
        key_or_rule=jwk_json,
        assertion_digest=hashlib.sha256(json.dumps([str(client.agent_id), claims["jti"]]).encode()).digest(),
        digest_expires_at=compute_use_expiry(claims),
    )


def _find_assertion_refusal(services: Services, unverified_jwt: UnverifiedJwt, key: Any, at: datetime) -> str | None:
    if not unverified_jwt.is_signed_by(key):
        return WRONG_SIGNATURE
    audience, jti = unverified_jwt.claims.get("aud"), unverified_jwt.claims.get("jti")
    # The audience must be our issuer only (draft-ietf-oauth-rfc7523bis), so that another server cannot use the
    # assertions that it receives here.
    if (audience[0] if isinstance(audience, list) and len(audience) == 1 else audience) != services.settings.issuer:
        return WRONG_AUDIENCE
    if not isinstance(jti, str) or not 1 <= len(jti) <= MAX_JTI_LENGTH:
        return WRONG_JTI
    return find_wrong_time(unverified_jwt.claims, at.timestamp(), MAX_LIFETIME)
