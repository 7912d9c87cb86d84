"""The form of resource identifiers, which are URIs (RFC 8707 section 2), and of audiences, which clouds use instead."""

from __future__ import annotations

import re

RESOURCE_IDENTIFIER = (
    r"(?:[Uu][Rr][Nn]:[!\x22$-~]+|[A-Za-z][A-Za-z0-9+.-]*://"
    r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?][!\x22$-~]*)?)"
)
"""Regular expression for a URN or for a URI with a host (RFC 3986), without user information and fragment."""

_ORIGIN = re.compile(r"^([^:/?]+://[^/?]*)(?:/\Z)?")

MAX_RESOURCE_LENGTH = 500
"""Maximum number of characters of a resource identifier."""


def is_resource_identifier(text: str) -> bool:
    """Return whether *text* is a resource identifier: an absolute URI without fragment (RFC 8707 section 2)."""
    return len(text) <= MAX_RESOURCE_LENGTH and re.fullmatch(RESOURCE_IDENTIFIER, text) is not None


def normalize_identifier(identifier: str) -> str:
    """Return a resource identifier with scheme and host in lower case, and without the path ``/``.

    Identifiers with the same result are equivalent URIs (RFC 3986 sections 6.2.2.1 and 6.2.3).
    """
    return _ORIGIN.sub(lambda match: match[1].lower(), identifier)


AUDIENCE = r"[!#-\[\]-~]+"
"""Regular expression for an audience: printable ASCII without blanks, quotes and backslashes. It need not be a URI."""

MAX_AUDIENCE_LENGTH = 255
"""Maximum number of characters of an audience. AWS has the same maximum."""

SHARED_AUDIENCES = frozenset(
    {"sts.amazonaws.com", *(f"api://AzureADTokenExchange{cloud}" for cloud in ("", "USGov", "China"))}
)
"""Audiences that all customers of a cloud share, so that no organization can own them."""

_SHARED_KEYS = {audience.lower() for audience in SHARED_AUDIENCES}


def is_audience(text: str) -> bool:
    """Return whether *text* matches :data:`AUDIENCE` and has at most :data:`MAX_AUDIENCE_LENGTH` characters."""
    return len(text) <= MAX_AUDIENCE_LENGTH and re.fullmatch(AUDIENCE, text) is not None


def owned_name(audience: str) -> str | None:
    """Return the identifier that an organization must own to use an audience, or ``None`` for a shared audience.

    For Google Cloud, ``//iam.googleapis.com/…`` and ``https://iam.googleapis.com/…`` are equal. The URL is returned.

    :param audience: an audience or a resource identifier.
    """
    # Capital letters and trailing slashes are ignored here, as in the SQL function resource_key().
    if audience.lower().rstrip("/") in _SHARED_KEYS:
        return None
    return f"https:{audience}" if audience.startswith("//") else audience
