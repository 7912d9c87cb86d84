"""Parses JSON Web Tokens and verifies their signatures (RFC 7515, RFC 7519)."""

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
"""Maximum number of characters of the ``jti`` of a token that may be used only once."""

MAX_KID_LENGTH = 200
"""Maximum number of characters of the ``kid`` of a client's or another issuer's key."""

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""Maximum NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` can represent."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def base64url(octets: bytes) -> bytes:
    """Encode bytes as base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(octets, newline=False).translate(_URL_SAFE).rstrip(b"=")


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """A parsed JWT whose signature is not verified.

    :ivar tried: the keys for which :meth:`is_signed_by` was called, each with its result.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes
    tried: list[tuple[Any, bool]] = field(default_factory=list, compare=False, repr=False)

    @property
    def alg(self) -> str:
        """The ``alg`` in the header, which is one of the allowed algorithms."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The ``kid`` in the header; an empty string, which no stored key has, if the ``kid`` is not allowed."""
        kid: str | None = self.header.get("kid")
        is_allowed = kid is None or (len(kid) <= MAX_KID_LENGTH and kid.isascii() and kid.isprintable())
        return kid if is_allowed else ""

    def is_signed_by(self, key: Any) -> bool:
        """Return whether *key* made the signature. Cache the result, because rules of trust often share keys."""
        for tried_key, is_valid in self.tried:
            if tried_key == key:
                return is_valid
        # jwt.decode() is not used, because it would parse the token again for each key.
        algorithm = jwt.get_algorithm_by_name(self.alg)
        try:
            is_valid = bool(algorithm.verify(self.signed, algorithm.prepare_key(key), self.signature))
        except (jwt.PyJWTError, ValueError, TypeError):
            is_valid = False
        self.tried.append((key, is_valid))
        return is_valid


def parse_jwt(
    text: str, *, max_length: int, types: tuple[str | None, ...], algorithms: tuple[str, ...]
) -> UnverifiedJwt | None:
    """Parse a JWT without verifying it. Return ``None`` for a JWT that is malformed or that the parameters exclude.

    :param types: accepted values of ``typ``, in lower case. ``None`` accepts a token without ``typ``.
    """
    if len(text) > max_length or not COMPACT_SERIALIZATION.fullmatch(text):
        return None
    signing_input, _, encoded_signature = text.rpartition(".")
    try:
        header, claims = (json.loads(_decode(encoded_part)) for encoded_part in signing_input.split("."))
        signature = _decode(encoded_signature)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(claims, dict) or not isinstance(header.get("kid", ""), str):
        return None
    token_type = header.get("typ")
    if (token_type.lower() if isinstance(token_type, str) else token_type) not in types or "crit" in header:
        return None
    # A header with "b64": false is invalid without "crit" (RFC 7797 section 6), and "crit" is refused above.
    if header.get("b64", True) is False:
        return None
    if header.get("alg") not in algorithms:
        return None
    return UnverifiedJwt(header, claims, signing_input.encode(), signature)


def _decode(encoded: str) -> bytes:
    decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if base64url(decoded) != encoded.encode():
        # The last character has unused bits, which must be zero (RFC 7515 section 2).
        raise ValueError("bits after the last octet")
    return decoded
