"""Checks redirect URIs, and compares requested with registered redirect URIs (RFC 6749 section 3.1.2)."""

from __future__ import annotations

import re

MAX_REDIRECT_URI = 500
"""Maximum number of characters of a redirect URI."""

MAX_REDIRECT_URIS = 50
"""Maximum number of redirect URIs per agent."""

_REST = r"(?:[/?][!$&-)+-;=?-Z_a-z~%]*)?"
_LOOPBACK = r"http://(?:127\.0\.0\.1|\[::1\]|localhost)"
# Schemes that an app's own scheme must not be, because a browser would handle the URI instead of opening the app.
_FORBIDDEN = "https?|javascript|vbscript|data|file|blob|filesystem|about|view-source|wss?|ftps?|mailto|tel|sms"
REDIRECT_URI = (
    rf"(?:https://[a-z0-9.-]+(?::[0-9]{{1,5}})?{_REST}|{_LOOPBACK}(?::[0-9]{{1,5}})?{_REST}"
    rf"|(?!(?:{_FORBIDDEN}):)[a-z][a-z0-9+.-]*:/[!$&-)+-;=?-Z_a-z~%]*)"
)
"""Regular expression for a redirect URI: https, http on this computer (RFC 8252 section 7.3), or an app's own scheme
(RFC 8252 section 7.1), without user information, fragment, or capital letters in the host."""

_PORT = re.compile(rf"^({_LOOPBACK}):[0-9]{{1,5}}(?=[/?]|$)")


def is_redirect_uri(text: str) -> bool:
    """Return whether *text* matches :data:`REDIRECT_URI` and has at most :data:`MAX_REDIRECT_URI` characters."""
    return len(text) <= MAX_REDIRECT_URI and re.fullmatch(REDIRECT_URI, text) is not None


def is_registered(redirect_uri: str, registered_uris: list[str]) -> bool:
    """Return whether a requested redirect URI is registered. The port of a loopback address may differ (RFC 8252)."""
    return _PORT.sub(r"\1", redirect_uri) in [_PORT.sub(r"\1", registered) for registered in registered_uris]
