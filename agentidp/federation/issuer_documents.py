"""Fetch the metadata and the keys that an issuer publishes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from agentidp.config import LOOPBACK_HOSTS
from agentidp.federation.key_set import KeySet, KeySource, remove_nested_members
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import AllowedNetworks

Proxy = Callable[[SplitResult], str | None]
"""Returns the proxy for a URL, or ``None`` for a direct connection."""

TIMEOUT = 5.0
"""Maximum seconds to fetch an issuer's metadata and keys, not counting DNS lookups."""

MAX_BODY = 64 * 1024
"""Maximum number of bytes of an issuer's response."""

MIN_AGE, MAX_AGE = 300.0, 86_400.0
"""Minimum and maximum seconds for which fetched keys are fresh."""

_MAX_AGE_DIRECTIVE = re.compile(r"(?:^|[ ,])max-age=\"?([0-9]{1,9})")

_URI_CHARACTERS = re.compile(r"[!#-;=?-Z\[\]_a-z~]+")
"""The characters of URIs (RFC 3986). Other characters, such as a backslash, could make urlsplit read another host."""

ACCEPT = {"Accept": "application/json", "User-Agent": "AgentIdP"}


class Published(NamedTuple):
    """An issuer's keys, and its metadata as JSON, which is ``{}`` if the rule contains the address of the keys."""

    metadata: str
    keys: KeySet


def fetch_published(
    source: KeySource, networks: AllowedNetworks, proxy: Proxy, timeout: float
) -> tuple[Published, float]:
    """Fetch the metadata and keys of an issuer. Also return the seconds for which the keys are fresh."""
    deadline = time.monotonic() + timeout
    metadata: dict[str, Any] = {}
    jwks_uri = source.jwks_uri
    if jwks_uri is None:
        # The metadata's address omits a slash at the end of the issuer (OpenID Connect Discovery section 4.1).
        metadata_url = f"{source.issuer.removesuffix('/')}/.well-known/openid-configuration"
        metadata, _ = _request_json(metadata_url, networks, proxy, deadline)
        if metadata.get("issuer") != source.issuer:
            raise RequestFailed("the metadata is of another issuer")
        jwks_uri = metadata.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise RequestFailed("the metadata has no jwks_uri")
    jwks, response_headers = _request_json(jwks_uri, networks, proxy, deadline)
    if not isinstance(jwks.get("keys"), list):
        raise RequestFailed("the response is not a JWK Set")
    published_documents = Published(json.dumps(remove_nested_members(metadata)), KeySet(jwks["keys"]))
    return published_documents, parse_max_age(response_headers)


def _request_json(
    given_url: str, networks: AllowedNetworks, proxy: Proxy, deadline: float
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Fetch a JSON object from an address before a deadline. Also return the headers of the response."""
    checked_url = check_url(given_url, networks)
    response = request(
        "GET",
        checked_url,
        networks=networks,
        timeout=max(deadline - time.monotonic(), 0.001),
        max_body=MAX_BODY,
        headers=ACCEPT,
        proxy=proxy(checked_url),
    )
    if response.status != 200:
        raise RequestFailed(f"the status is {response.status}, not 200")
    json_object = parse_json_object(response.body)
    if json_object is None:
        raise RequestFailed("the response is not a JSON object")
    return json_object, response.headers


def check_url(given_url: object, networks: AllowedNetworks) -> SplitResult:
    """Return the parts of an issuer's address, or raise ``RequestFailed`` unless it is an https or loopback URL."""
    try:
        url = urlsplit(given_url if isinstance(given_url, str) and _URI_CHARACTERS.fullmatch(given_url) else "")
        is_local_http = networks.allow_plain and url.scheme == "http" and url.hostname in LOOPBACK_HOSTS
        is_allowed = (url.scheme == "https" or is_local_http) and bool(url.hostname) and url.username is None
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise RequestFailed("the address is not an https URL")
    return url


def parse_json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a response's body, or ``None`` if the body is not a JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_max_age(headers: list[tuple[str, str]]) -> float:
    """Return the seconds for which a response is fresh (RFC 9111 section 4.2.1), from ``MIN_AGE`` to ``MAX_AGE``."""
    directives = ",".join(
        header_value for header_name, header_value in headers if header_name.lower() == "cache-control"
    ).lower()
    max_age_match = _MAX_AGE_DIRECTIVE.search(directives)
    return min(max(float(max_age_match[1]) if max_age_match else 0.0, MIN_AGE), MAX_AGE)
