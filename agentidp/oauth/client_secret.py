"""Make and hash client secrets, in a form that secret scanners recognize."""

from __future__ import annotations

import hashlib
import secrets
import zlib

PATTERN = r"aidp_[0-9A-Za-z]{49}"
_PREFIX = "aidp_"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_BYTES = 32
# Number of base62 digits for the 256 random bits, and for the 32 bits of the checksum.
_RANDOM_LENGTH = 43
_CHECKSUM_LENGTH = 6


def new_secret() -> str:
    """Return a new client secret: the prefix, 256 random bits as base62 digits, and the CRC-32 of these digits."""
    digits = _encode_base62(int.from_bytes(secrets.token_bytes(_RANDOM_BYTES)), _RANDOM_LENGTH)
    return _PREFIX + digits + _encode_base62(zlib.crc32(digits.encode()), _CHECKSUM_LENGTH)


def hash_secret(client_secret: str) -> bytes:
    """Return the SHA-256 of a secret, which is stored instead of the secret."""
    # A secret with 256 random bits needs no slow hash, which would cost most of the token endpoint's throughput.
    return hashlib.sha256(client_secret.encode("utf-8", "surrogatepass")).digest()


def _encode_base62(number: int, length: int) -> str:
    base62_digits = ""
    for _ in range(length):
        number, digit_value = divmod(number, len(_DIGITS))
        base62_digits = _DIGITS[digit_value] + base62_digits
    return base62_digits
