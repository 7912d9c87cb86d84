"""What the JSON Web Tokens that we read have in common (RFC 7515, RFC 7519)."""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime

COMPACT_SERIALIZATION = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""Three base64url parts without padding (RFC 7515 section 7.1). PyJWT would also accept a token followed by ``==``."""

MAX_JTI_LENGTH = 256
"""Characters of the identifier (``jti``) of a token that is accepted once."""

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""The greatest NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` knows."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def base64url(octets: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(octets, newline=False).translate(_URL_SAFE).rstrip(b"=")
