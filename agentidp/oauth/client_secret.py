"""Client secrets: 256 random bits in a form that secret scanners recognize."""

from __future__ import annotations

import hashlib
import secrets
import zlib

PATTERN = r"aidp_[0-9A-Za-z]{49}"
"""The form of a secret, for scanners."""

_PREFIX = "aidp_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 32
_RANDOM_LENGTH = 43
"""Base62 digits of 256 bits."""

_CHECKSUM_LENGTH = 6
"""Base62 digits of 32 bits."""


def new_secret() -> str:
    """A new client secret: the prefix, 43 base62 digits of 256 random bits, and 6 of their CRC-32."""
    digits = _base62(int.from_bytes(secrets.token_bytes(_RANDOM_BYTES)), _RANDOM_LENGTH)
    return _PREFIX + digits + _checksum(digits)


def hash_secret(client_secret: str) -> bytes:
    """The form in which a secret is stored: SHA-256.

    A slow hash protects secrets that people choose. Ours are 256 random bits: there is no list to try, and a slow
    hash would cost most of the token endpoint's throughput.
    """
    return hashlib.sha256(client_secret.encode("utf-8", "surrogatepass")).digest()


def _checksum(digits: str) -> str:
    return _base62(zlib.crc32(digits.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    """The most significant digit first, padded with zeros."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
