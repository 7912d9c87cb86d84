"""Checks public keys with which clients authenticate (RFC 7517, RFC 7523) or bind their tokens (RFC 9449)."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from agentidp.jose.jws import MAX_KID_LENGTH
from agentidp.jose.rsa_weakness import find_weakness


class KeyType(NamedTuple):
    """A type of key: the members of a public key and the supported algorithms."""

    kty: str
    curve: str | None
    members: tuple[str, ...]
    algorithms: tuple[str, ...]


# The values are from RFC 7518 sections 3.1 and 6, and RFC 8037 section 2. EdDSA and Ed25519 name the same algorithm.
# RFC 9864 deprecates the name EdDSA, but libraries still use it.
KEY_TYPES = (
    KeyType("EC", "P-256", ("crv", "x", "y"), ("ES256",)),
    KeyType("EC", "P-384", ("crv", "x", "y"), ("ES384",)),
    KeyType("RSA", None, ("n", "e"), ("RS256", "PS256")),
    KeyType("OKP", "Ed25519", ("crv", "x"), ("EdDSA", "Ed25519")),
)
ALGORITHMS = tuple(alg for key_type in KEY_TYPES for alg in key_type.algorithms)
"""The accepted values of ``alg`` in the header of a client's JWT."""

MAX_KEYS = 10
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
MAX_MEMBER_LENGTH = 1024
"""Maximum number of characters of one member of a JWK, for example ``n``."""

with contextlib.suppress(ValueError):  # Newer versions of PyJWT register Ed25519 themselves.
    jwt.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())

_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_KEY_OPS = ("verify", "sign")


def normalize_algorithm(alg: str) -> str:
    """Return the name of an algorithm in stored keys: ``EdDSA`` for ``Ed25519``, and *alg* for any other algorithm."""
    return "EdDSA" if alg == "Ed25519" else alg


def list_key_algorithms(jwk: dict[str, Any]) -> set[str]:
    """Return the names of all algorithms that a key's type supports, as stored keys have them."""
    return {
        normalize_algorithm(algorithm)
        for key_type in KEY_TYPES
        if key_type.kty == jwk.get("kty") and key_type.curve in (None, jwk.get("crv"))
        for algorithm in key_type.algorithms
    }


def build_jwk_schema() -> dict[str, Any]:
    """Return a JSON Schema for the accepted keys."""

    def build_key_schema(key_type: KeyType) -> dict[str, Any]:
        member_schema = {"type": "string", "maxLength": MAX_MEMBER_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"}
        return {
            "type": "object",
            "required": ["kty", *key_type.members],
            "properties": {
                **dict.fromkeys(key_type.members, member_schema),
                "kty": {"const": key_type.kty},
                "alg": {"enum": list(key_type.algorithms)},
                "use": {"const": "sig"},
                "key_ops": {
                    "type": "array",
                    "items": {"enum": list(_KEY_OPS)},
                    "contains": {"const": "verify"},
                    "uniqueItems": True,
                },
                "kid": {"type": ["string", "null"], "pattern": f"^[ -~]{{1,{MAX_KID_LENGTH}}}$"},
                **({"crv": {"const": key_type.curve}} if key_type.curve else {}),
            },
            "not": {"anyOf": [{"required": [private_member]} for private_member in sorted(_PRIVATE)]},
        }

    return {"oneOf": [build_key_schema(key_type) for key_type in KEY_TYPES]}


def check_public_jwk(jwk: object, alg: str | None = None) -> dict[str, Any]:
    """Check a public key, and return the members that verification needs, with ``alg`` and ``use``.

    :param alg: the algorithm for a key without ``alg``. Default: the first algorithm of the key's type.
    :raises ValueError: the key is refused. The message is for the client.
    """
    if not isinstance(jwk, dict):
        raise ValueError("must be a JSON Web Key")
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("must be a public key, without private members")
    key_type = _find_key_type(jwk)
    alg = jwk.get("alg", alg or key_type.algorithms[0])
    if alg not in key_type.algorithms:
        raise ValueError(f"alg must be {' or '.join(key_type.algorithms)}")
    _check_key_usage(jwk)
    kid = jwk.get("kid")
    if kid is not None and not (
        isinstance(kid, str) and 1 <= len(kid) <= MAX_KID_LENGTH and kid.isascii() and kid.isprintable()
    ):
        raise ValueError(f"kid must have 1 to {MAX_KID_LENGTH} printable ASCII characters")
    public_members = {member_name: jwk.get(member_name) for member_name in ("kty", *key_type.members)}
    if not all(isinstance(value, str) and len(value) <= MAX_MEMBER_LENGTH for value in public_members.values()):
        raise ValueError("is not a valid key")
    alg = normalize_algorithm(alg)
    try:
        public_key = jwt.PyJWK.from_dict(public_members, alg).key
    except (jwt.PyJWTError, ValueError, TypeError):
        raise ValueError("is not a valid key") from None
    if isinstance(public_key, RSAPublicKey):
        _check_rsa_key(public_key)
    return public_members | {"alg": alg, "use": "sig"} | ({} if kid is None else {"kid": kid})


def _find_key_type(jwk: dict[str, Any]) -> KeyType:
    for key_type in KEY_TYPES:
        if key_type.kty == jwk.get("kty") and key_type.curve in (None, jwk.get("crv")):
            return key_type
    raise ValueError("must be an RSA, P-256, P-384 or Ed25519 key")


def _check_rsa_key(public_key: RSAPublicKey) -> None:
    if not MIN_RSA_BITS <= public_key.key_size <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    rsa_numbers = public_key.public_numbers()
    if weakness := find_weakness(rsa_numbers.n, rsa_numbers.e):
        raise ValueError(weakness)


def check_public_jwks(jwks: object) -> list[dict[str, Any]]:
    """Check a JWK Set, and return the result of :func:`check_public_jwk` for each of its keys."""
    unchecked_keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(unchecked_keys, list) or not 1 <= len(unchecked_keys) <= MAX_KEYS:
        raise ValueError(f"must be a JWK Set with 1 to {MAX_KEYS} keys")
    checked_keys = [check_public_jwk(jwk) for jwk in unchecked_keys]
    kids = [checked_key["kid"] for checked_key in checked_keys if "kid" in checked_key]
    if len(set(kids)) != len(kids):
        raise ValueError("must not use a kid twice")
    return checked_keys


def _check_key_usage(jwk: dict[str, Any]) -> None:
    if jwk.get("use", "sig") != "sig":
        raise ValueError("use must be sig")
    key_ops = jwk.get("key_ops", ["verify"])
    if not isinstance(key_ops, list) or not all(isinstance(operation, str) for operation in key_ops):
        raise ValueError("key_ops must be an array of strings")
    if len(set(key_ops)) != len(key_ops):
        raise ValueError("key_ops must not contain an operation twice")
    if "verify" not in key_ops or not set(key_ops).issubset(_KEY_OPS):
        raise ValueError("key_ops must contain verify, and may also contain sign")
