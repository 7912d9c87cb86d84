"""What the JSON Web Tokens that we read have in common (RFC 7515, RFC 7519)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt

COMPACT_SERIALIZATION = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""Three base64url parts without padding (RFC 7515 section 7.1). PyJWT would also accept a token followed by ``==``."""

MAX_JTI_LENGTH = 256
"""Characters of the identifier (``jti``) of a token that is accepted once."""

MAX_KID_LENGTH = 200
"""Characters of the name (``kid``) of a key that verifies tokens of others."""

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""The greatest NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` knows."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def base64url(octets: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(octets, newline=False).translate(_URL_SAFE).rstrip(b"=")


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """The contents of a token before its signature is verified.

    :param signed: the bytes that are signed: header and claims as they were sent.
    :param tried: the keys that the signature was verified with, and whether it is theirs.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes
    tried: list[tuple[Any, bool]] = field(default_factory=list, compare=False, repr=False)

    @property
    def alg(self) -> str:
        """The algorithm, one of those that :func:`read_unverified` was given."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The name of the key. One that no key can have, and that PostgreSQL might not take, becomes empty."""
        kid: str | None = self.header.get("kid")
        is_possible = kid is None or (len(kid) <= MAX_KID_LENGTH and kid.isascii() and kid.isprintable())
        return kid if is_possible else ""

    def is_signed_by(self, key: Any) -> bool:
        """Whether a key of ``cryptography`` has made the signature. Each key is tried once: rules of trust often share
        theirs.
        """
        for tried, is_theirs in self.tried:
            if tried == key:
                return is_theirs
        is_theirs = self._verify(key)
        self.tried.append((key, is_theirs))
        return is_theirs

    def _verify(self, key: Any) -> bool:
        # Not by jwt.decode, which would parse once more.
        algorithm = jwt.get_algorithm_by_name(self.alg)
        try:
            return bool(algorithm.verify(self.signed, algorithm.prepare_key(key), self.signature))
        except (jwt.PyJWTError, ValueError, TypeError):
            return False


def read_unverified(
    text: str, *, max_length: int, types: tuple[str | None, ...], algorithms: tuple[str, ...]
) -> UnverifiedJwt | None:
    """The header and the claims of a token; ``None`` if it is not a JWS in compact serialization, or one that must not
    be accepted whoever has signed it.

    :param max_length: characters of a token.
    :param types: values of ``typ``, in lower case; ``None`` if it may be missing.
    :param algorithms: values of ``alg``.
    """
    if len(text) > max_length or not COMPACT_SERIALIZATION.fullmatch(text):
        return None
    signed, _, signature = text.rpartition(".")
    try:
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        decoded_signature = _decoded(signature)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict) or not isinstance(header.get("kid", ""), str):
        return None
    typ = header.get("typ")
    if (typ.lower() if isinstance(typ, str) else typ) not in types or "crit" in header:
        return None
    # RFC 7797 section 6: with "b64" there must be "crit".
    if header.get("b64", True) is False:
        return None
    if header.get("alg") not in algorithms:
        return None
    return UnverifiedJwt(header, claims, signed.encode(), decoded_signature)


def _decoded(part: str) -> bytes:
    """A part of a compact serialization, which has no character that Python would skip.

    :raises ValueError: it is not what an encoder writes (RFC 7515 section 2).
    """
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64url(decoded) != part.encode():
        raise ValueError("bits after the last octet")
    return decoded
