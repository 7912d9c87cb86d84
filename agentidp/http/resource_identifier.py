"""The form of a resource identifier: the URI by which a client names a resource server (RFC 8707 section 2); and of the
audience that a resource server may have instead, as clouds do.
"""

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


AUDIENCE = r"[!#-\[\]-~]+"
"""A regular expression: printable ASCII without blank, quote and backslash. It need not be a URI."""

MAX_AUDIENCE_LENGTH = 255
"""Characters. AWS takes no longer ones."""

SHARED_AUDIENCES = frozenset(
    {"sts.amazonaws.com", *(f"api://AzureADTokenExchange{cloud}" for cloud in ("", "USGov", "China"))}
)
"""Audiences that all customers of a cloud use. They belong to no organization: the cloud tells the tokens of one from
those of another by ``sub``. Any other audience belongs to one organization, like an identifier. In no spelling is one
of them an identifier: its organization would keep all others out.
"""

_SHARED_KEYS = {audience.lower() for audience in SHARED_AUDIENCES}


def is_audience(text: str) -> bool:
    """Whether tokens can have *text* as ``aud``."""
    return len(text) <= MAX_AUDIENCE_LENGTH and re.fullmatch(AUDIENCE, text) is not None


def claim_of(audience: str) -> str | None:
    """What an organization must hold to get tokens with an audience, or an identifier; ``None`` if it is shared.

    Google Cloud takes ``//iam.googleapis.com/…`` and ``https://iam.googleapis.com/…`` for the same.
    """
    # In the spellings that resource_key() of the database takes for the same.
    if audience.lower().rstrip("/") in _SHARED_KEYS:
        return None
    return f"https:{audience}" if audience.startswith("//") else audience
