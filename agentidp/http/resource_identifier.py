"""The form of a resource identifier: the URI by which a client names a resource server (RFC 8707 section 2)."""

from __future__ import annotations

import re

RESOURCE_IDENTIFIER = (
    r"(?:[Uu][Rr][Nn]:[!\x22$-~]+|[A-Za-z][A-Za-z0-9+.-]*://"
    r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?][!\x22$-~]*)?)"
)
"""A regular expression: a URN, or a URI with a host (RFC 3986), without user information and fragment."""

MAX_RESOURCE_LENGTH = 500
"""Characters."""


def is_resource_identifier(text: str) -> bool:
    """Whether *text* is an absolute URI without fragment (RFC 8707 section 2), of at most 500 characters."""
    return len(text) <= MAX_RESOURCE_LENGTH and re.fullmatch(RESOURCE_IDENTIFIER, text) is not None
