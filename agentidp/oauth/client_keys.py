"""The public keys with which a client may authenticate (RFC 7517, RFC 7523)."""

from __future__ import annotations

import contextlib
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS = ("ES256", "RS256", "EdDSA", "Ed25519")
"""What ``alg`` of a signature may be. The last two are one algorithm: RFC 9864 gives EdDSA with Ed25519 a name of its
own and deprecates the old one, and libraries send either.
"""

MAXIMUM_KEYS = 10
MINIMUM_RSA_BITS = 2048
MAXIMUM_RSA_BITS = 4096
MAXIMUM_MEMBER_LENGTH = 1024
"""Characters."""

# key type -> algorithm, curve, and the members that a public key of the type has (RFC 7518 section 6, RFC 8037)
_TYPES = {
    "EC": ("ES256", "P-256", ("crv", "x", "y")),
    "RSA": ("RS256", None, ("n", "e")),
    "OKP": ("EdDSA", "Ed25519", ("crv", "x")),
}
with contextlib.suppress(ValueError):  # where PyJWT has come to know it
    jwt.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def key_algorithm(alg: str) -> str:
    """The ``alg`` under which :func:`public_jwk` keeps the key of a signature with *alg*."""
    return "EdDSA" if alg == "Ed25519" else alg


def jwk_json_schema() -> dict[str, Any]:
    """What :func:`public_jwk` takes, as JSON Schema; whether it is a point of its curve, say, no schema tells."""

    def of(kty: str) -> dict[str, Any]:
        alg, curve, members = _TYPES[kty]
        value = {"type": "string", "maxLength": MAXIMUM_MEMBER_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"}
        return {
            "type": "object",
            "required": ["kty", *members],
            "properties": {
                **dict.fromkeys(members, value),
                "kty": {"const": kty},
                "alg": {"enum": [alg, "Ed25519"] if alg == "EdDSA" else [alg]},
                "use": {"const": "sig"},
                "kid": {"type": ["string", "null"], "pattern": "^[ -~]{1,200}$"},
                **({"crv": {"const": curve}} if curve else {}),
            },
            "not": {"anyOf": [{"required": [member]} for member in sorted(_PRIVATE)]},
        }

    return {"oneOf": [of(kty) for kty in _TYPES]}


def public_jwk(jwk: object) -> dict[str, Any]:
    """Check a public key and keep what verification needs: ``kty``, its members, ``alg``, ``use`` and ``kid``.

    :raises ValueError: the rule that it breaks, for the client.
    """
    if not isinstance(jwk, dict):
        raise ValueError("must be a JSON Web Key")
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("must be a public key: it holds private members")
    kty = jwk.get("kty")
    alg, curve, members = _TYPES.get(kty if isinstance(kty, str) else "", (None, None, ()))
    if alg is None or (curve is not None and jwk.get("crv") != curve):
        raise ValueError("must be an RSA, P-256 or Ed25519 key")
    if "alg" in jwk and (jwk["alg"] not in ALGORITHMS or key_algorithm(jwk["alg"]) != alg):
        raise ValueError(f"alg must be {alg}")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("use must be sig")
    kid = jwk.get("kid")
    if kid is not None and not (isinstance(kid, str) and 1 <= len(kid) <= 200 and kid.isascii() and kid.isprintable()):
        raise ValueError("kid must have 1 to 200 printable ASCII characters")
    if not all(isinstance(jwk.get(member), str) and len(jwk[member]) <= MAXIMUM_MEMBER_LENGTH for member in members):
        raise ValueError("is not a valid key")
    kept = {"kty": kty, **{member: jwk[member] for member in members}}
    try:
        key = jwt.PyJWK.from_dict(kept, alg).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ValueError("is not a valid key") from None
    if isinstance(key, RSAPublicKey) and not MINIMUM_RSA_BITS <= key.key_size <= MAXIMUM_RSA_BITS:
        raise ValueError(f"an RSA key must have {MINIMUM_RSA_BITS} to {MAXIMUM_RSA_BITS} bits")
    return kept | {"alg": alg, "use": "sig"} | ({} if kid is None else {"kid": kid})


def public_jwks(jwks: object) -> list[dict[str, Any]]:
    """Check a JWK Set.

    :raises ValueError: the rule that it breaks, for the client.
    """
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAXIMUM_KEYS:
        raise ValueError(f"must be a JWK Set with 1 to {MAXIMUM_KEYS} keys")
    checked = [public_jwk(key) for key in keys]
    kids = [key["kid"] for key in checked if "kid" in key]
    if len(set(kids)) != len(kids):
        raise ValueError("must not use a kid twice")
    return checked
