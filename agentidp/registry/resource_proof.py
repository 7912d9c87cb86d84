"""A resource server's own word on which organization it belongs to, in its metadata (RFC 9728)."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

from agentidp.config import ConfigurationError

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ORGANIZATION_MEMBER = "agentidp_organization_id"
"""An additional parameter of the metadata (section 2), which names the organization whose tokens are taken."""

TIMEOUT = 5
"""Seconds, for each step of the network and for the body."""

MAX_BYTES = 64 * 1024
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def verify_ownership(resource: str, organization_id: str, issuer: str) -> None:
    """Fetch the metadata that is published under a resource identifier, and check whose it is. Redirects are refused.

    :param resource: the identifier; https, or http on the loopback.
    :param issuer: ours, which must be among ``authorization_servers``.
    :raises ConfigurationError: one sentence: it cannot be fetched, or says something else.
    """
    url = urlsplit(resource)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise ConfigurationError(f"the resource {resource} has no metadata that can be trusted: it is not https")
    try:
        status, body = _fetch(url)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ConfigurationError(f"the metadata of {resource} cannot be fetched: {reason}") from None
    if status != 200:
        raise ConfigurationError(f"the metadata of {resource} cannot be fetched: the status is {status}, not 200")
    if len(body) > MAX_BYTES:
        raise ConfigurationError(f"the metadata of {resource} has more than {MAX_BYTES} bytes")
    metadata = _object(body)
    if metadata is None:
        raise ConfigurationError(f"the metadata of {resource} is not a JSON object")
    servers = metadata.get("authorization_servers")
    for member, is_right, expected in (
        ("resource", metadata.get("resource") == resource, f"is not {resource}"),
        ("authorization_servers", isinstance(servers, list) and issuer in servers, f"does not name {issuer}"),
        (ORGANIZATION_MEMBER, metadata.get(ORGANIZATION_MEMBER) == organization_id, f"is not {organization_id}"),
    ):
        if not is_right:
            raise ConfigurationError(f"the metadata of {resource} proves nothing: {member} {expected}")


def metadata_path(url: SplitResult) -> str:
    """Where the metadata of a resource is on its host: the well-known part comes before the path (section 3.1)."""
    path = "" if url.path == "/" else url.path
    return f"{WELL_KNOWN}{path}?{url.query}" if url.query else f"{WELL_KNOWN}{path}"


def _fetch(url: SplitResult) -> tuple[int, bytes]:
    """The status, and the body up to one byte beyond what is allowed."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", metadata_path(url), headers={"Accept": "application/json"})
        with connection.getresponse() as response:
            body, deadline = b"", time.monotonic() + TIMEOUT
            while len(body) <= MAX_BYTES and (chunk := response.read1(MAX_BYTES + 1 - len(body))):
                body += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
            return response.status, body


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
