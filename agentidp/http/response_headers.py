"""The response headers of the OpenAPI document."""

from __future__ import annotations

from typing import Any


def _build_quotas_pattern(parameters: str) -> str:
    """Return a regular expression for a header with a list of quotas. *parameters* matches one quota's parameters."""
    quota = f'"(agent|organization)-(hour|day|month)";{parameters}'
    return f"{quota}(, {quota})*"


HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's id in the log: the id that the client sent, if it is valid, otherwise a new id",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750 section 3, RFC 7617)",
        "schema": {"type": "string", "pattern": "^(?:Bearer|Basic|DPoP) "},
    },
    "Retry-After": {
        "description": "Seconds until the client should try again",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Policy": {
        "description": "The enforced quotas of the agent and of its organization: tokens (`q`) per window, and seconds "
        "in the window (`w`) (draft-ietf-httpapi-ratelimit-headers)",
        "required": False,
        "schema": {"type": "string", "pattern": f"^{_build_quotas_pattern('q=[0-9]+;w=[0-9]+')}$"},
    },
    "RateLimit": {
        "description": "Tokens left in each of these quotas (`r`), and seconds until the window ends (`t`)",
        "required": False,
        "schema": {"type": "string", "pattern": f"^{_build_quotas_pattern('r=[0-9]+;t=[0-9]+')}$"},
    },
    "Location": {"description": "Address of the new object", "schema": {"type": "string", "format": "uri-reference"}},
    "ETag": {
        "description": "Identifies the body. Send it as `If-None-Match` to get 304 while the body is the same",
        "schema": {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    },
    "Cache-Control": {
        "description": "How long the response may be cached",
        "schema": {"type": "string", "const": "private, no-cache"},
    },
    "Vary": {
        "description": "The request headers that the response depends on",
        "schema": {"type": "string", "const": "Authorization, Accept"},
    },
    "AgentIdP-Staleness": {
        "description": "If a read replica served the data: maximum age of the data in seconds",
        "required": False,
        "schema": {"type": "number", "minimum": 0},
    },
    "Link": {
        "description": 'The address of the next page, if there is one, with `rel="next"` (RFC 8288)',
        "required": False,
        "schema": {"type": "string"},
    },
    "Content-Disposition": {
        "description": "The file name, for CSV only (RFC 6266)",
        "required": False,
        "schema": {"type": "string", "pattern": '^attachment; filename="[a-z0-9-]+\\.csv"$'},
    },
}
"""Descriptions of response headers, by header name."""
