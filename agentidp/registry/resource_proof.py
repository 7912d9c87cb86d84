"""Verifies by a resource server's metadata to which organization the resource server belongs (RFC 9728)."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from agentidp.config import LOOPBACK_HOSTS, ConfigurationError
from agentidp.federation.issuer_documents import parse_json_object
from agentidp.outbound.client import RequestFailed, request
from agentidp.outbound.networks import OPERATOR_NETWORKS

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ORGANIZATION_MEMBER = "agentidp_organization_id"
"""The member of the metadata that names the organization. RFC 9728 does not define this member."""

TIMEOUT = 5.0
"""Maximum seconds to fetch a resource server's metadata."""

MAX_BYTES = 64 * 1024
"""Maximum number of bytes of a resource server's metadata."""


def verify_ownership(resource: str, organization_id: str, issuer: str) -> None:
    """Fetch the metadata of a resource server, and check that it names the organization and this issuer.

    :param resource: the resource server's identifier: an https URL, or an http URL of a loopback address.
    :param issuer: the issuer of this server, which must be among ``authorization_servers``.
    :raises ConfigurationError: the metadata cannot be fetched, or does not name the organization and this issuer.
    """
    url = urlsplit(resource)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK_HOSTS):
        raise ConfigurationError(f"the resource {resource} has no metadata that can be trusted: it is not https")
    try:
        response = request(
            "GET",
            url._replace(path=build_metadata_path(url), query=""),
            networks=OPERATOR_NETWORKS,
            timeout=TIMEOUT,
            max_body=MAX_BYTES,
            headers={"Accept": "application/json"},
        )
    except RequestFailed as failed:
        raise ConfigurationError(f"the metadata of {resource} cannot be fetched: {failed}") from None
    if response.status != 200:
        raise ConfigurationError(f"the metadata of {resource} has the status {response.status} instead of 200")
    metadata = parse_json_object(response.body)
    if metadata is None:
        raise ConfigurationError(f"the metadata of {resource} is not a JSON object")
    issuers = metadata.get("authorization_servers")
    has_issuer = isinstance(issuers, list) and issuer in issuers
    for is_expected, problem_sentence in (
        (metadata.get("resource") == resource, f"resource is not {resource}"),
        (has_issuer, f"authorization_servers does not name {issuer}"),
        (metadata.get(ORGANIZATION_MEMBER) == organization_id, f"{ORGANIZATION_MEMBER} is not {organization_id}"),
    ):
        if not is_expected:
            raise ConfigurationError(f"the metadata of {resource} proves nothing: {problem_sentence}")


def build_metadata_path(url: SplitResult) -> str:
    """Return the path and query of the metadata of a resource server (RFC 9728 section 3.1)."""
    path = "" if url.path == "/" else url.path
    return f"{WELL_KNOWN}{path}?{url.query}" if url.query else f"{WELL_KNOWN}{path}"
