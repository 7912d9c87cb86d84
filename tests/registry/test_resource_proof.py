"""A resource server's metadata (RFC 9728) proves which organization the server belongs to."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentidp.config import ConfigurationError
from agentidp.outbound.client import Response
from agentidp.registry import resource_proof
from agentidp.registry.resource_proof import MAX_BYTES, build_metadata_path, verify_ownership
from tests.helpers.outbound_server import responding, server

ORGANIZATION = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
ISSUER = "https://idp.example"
RESOURCE = "https://api.example/v2"
METADATA = {
    "resource": RESOURCE,
    "authorization_servers": ["https://another.example", ISSUER],
    "agentidp_organization_id": ORGANIZATION,
}


def refusal(resource: str) -> str:
    """Return the error message for a refused proof."""
    with pytest.raises(ConfigurationError) as refused:
        verify_ownership(resource, ORGANIZATION, ISSUER)
    return str(refused.value)


def test_metadata_that_names_the_organization_and_this_issuer_is_a_proof() -> None:
    heard: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        metadata = json.dumps(METADATA | {"resource": resource}).encode()
        responding(b"HTTP/1.1 200 OK\r\n\r\n" + metadata, heard)(connection)

    with server(speak) as port:
        resource = f"http://localhost:{port}/v2"
        verify_ownership(resource, ORGANIZATION, ISSUER)
    assert heard[0].startswith(b"GET /.well-known/oauth-protected-resource/v2 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("https://x.example", ""),
        ("https://x.example/", ""),
        ("https://x.example/v2/", "/v2/"),
        ("https://x.example/v2?a=b", "/v2?a=b"),
        ("https://x.example/?a=b", "?a=b"),
    ],
)
def test_the_well_known_part_comes_before_the_path(resource: str, path: str) -> None:
    assert build_metadata_path(urlsplit(resource)) == f"/.well-known/oauth-protected-resource{path}"


def other(**changes: Any) -> bytes:
    """Return the metadata with changed members."""
    return json.dumps(METADATA | changes).encode()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, other(resource="https://api.example"), f"proves nothing: resource is not {RESOURCE}"),
        (200, other(authorization_servers=[]), f"proves nothing: authorization_servers does not name {ISSUER}"),
        (200, other(authorization_servers=ISSUER), f"proves nothing: authorization_servers does not name {ISSUER}"),
        *(
            (
                200,
                other(agentidp_organization_id=wrong),
                f"proves nothing: agentidp_organization_id is not {ORGANIZATION}",
            )
            for wrong in (None, ORGANIZATION[:-1], [ORGANIZATION])
        ),
        *((200, body, "is not a JSON object") for body in (b"", b"[]", b"{", b"\xff", b"[" * 60_000)),
        # A redirect is not followed.
        *((status, other(), f"has the status {status} instead of 200") for status in (204, 302)),
    ],
)
def test_what_is_no_proof(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, sentence: str) -> None:
    monkeypatch.setattr(resource_proof, "request", lambda *_, **__: Response(status, "", [], body))
    assert refusal(RESOURCE) == f"the metadata of {RESOURCE} {sentence}"


def test_metadata_that_is_too_long_is_not_read() -> None:
    with server(responding(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BYTES + 1))) as port:
        assert refusal(f"http://localhost:{port}/").endswith("the response has more than 65536 bytes")


@pytest.mark.parametrize("resource", ["http://billing.example/v2", "http://127.0.0.2/", "urn:example:billing"])
def test_what_anyone_on_the_way_could_have_written_is_refused(resource: str) -> None:
    assert refusal(resource) == f"the resource {resource} has no metadata that can be trusted: it is not https"


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("http://localhost:1/", "no connection: Connection refused"),
        ("https://%zz/", ""),
        # The address of a cloud's instance metadata.
        ("https://169.254.169.254/latest", "the address is not public"),
    ],
)
def test_a_server_that_cannot_be_reached_is_refused(resource: str, reason: str) -> None:
    assert refusal(resource).startswith(f"the metadata of {resource} cannot be fetched: {reason}")
