"""The metadata of a resource server (RFC 9728) as a proof of which organization it belongs to."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentidp.config import ConfigurationError
from agentidp.registry import resource_proof
from agentidp.registry.resource_proof import MAX_BYTES, metadata_path, verify_ownership
from tests.deploy.deployment import make_certificate
from tests.factories import PATIENCE

ORGANIZATION = "org-0a1b2c3d-e4f5-6789-abcd-ef0123456789"
ISSUER = "https://idp.example"


class ResourceServer(ThreadingHTTPServer):
    """Responds on the loopback to every address with what the test says, and notes what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resource = f"http://localhost:{self.server_port}/v2"
        self.status, self.headers = 200, {}
        self.metadata: Any = {
            "resource": self.resource,
            "authorization_servers": ["https://another.example", ISSUER],
            "agentidp_organization_id": ORGANIZATION,
        }
        self.body: bytes | None = None
        self.pause = 0.0
        self.asked: list[str] = []

    def handle_error(self, *_: object) -> None:
        """A client that does not wait is what some tests want."""


class Handler(BaseHTTPRequestHandler):
    """See :class:`ResourceServer`."""

    server: ResourceServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = json.dumps(self.server.metadata).encode() if self.server.body is None else self.server.body
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in (body[:1], body[1:2], body[2:3], body[3:]):
            self.wfile.write(part)
            time.sleep(self.server.pause)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def server() -> Iterator[ResourceServer]:
    """Running."""
    with ResourceServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        yield running
        running.shutdown()
        thread.join(PATIENCE)


def refusal(resource: str, **changes: str) -> str:
    """The sentence with which a proof is refused."""
    with pytest.raises(ConfigurationError) as refused:
        verify_ownership(**{"resource": resource, "organization_id": ORGANIZATION, "issuer": ISSUER} | changes)
    return str(refused.value)


def test_metadata_that_names_the_organization_and_this_issuer_is_a_proof(server: ResourceServer) -> None:
    verify_ownership(server.resource, ORGANIZATION, ISSUER)
    assert server.asked == ["/.well-known/oauth-protected-resource/v2"]


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("https://x.example", ""),
        ("https://x.example/", ""),
        ("https://x.example/v2", "/v2"),
        ("https://x.example/v2/", "/v2/"),
        ("https://x.example/v2?a=b", "/v2?a=b"),
        ("https://x.example?a=b", "?a=b"),
        ("https://x.example/?a=b", "?a=b"),
    ],
)
def test_the_well_known_part_comes_before_the_path(resource: str, path: str) -> None:
    assert metadata_path(urlsplit(resource)) == f"/.well-known/oauth-protected-resource{path}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"resource": "http://localhost/v2"}, "resource is not {}"),
        ({"resource": None}, "resource is not {}"),
        ({"authorization_servers": ["https://another.example"]}, f"authorization_servers does not name {ISSUER}"),
        ({"authorization_servers": f"{ISSUER} and more"}, f"authorization_servers does not name {ISSUER}"),
        ({"agentidp_organization_id": ORGANIZATION[:-1]}, f"agentidp_organization_id is not {ORGANIZATION}"),
        ({"agentidp_organization_id": [ORGANIZATION]}, f"agentidp_organization_id is not {ORGANIZATION}"),
        ({"agentidp_organization_id": None}, f"agentidp_organization_id is not {ORGANIZATION}"),
    ],
)
def test_metadata_that_says_something_else_proves_nothing(
    server: ResourceServer, change: dict[str, Any], sentence: str
) -> None:
    server.metadata |= change
    expected = f"the metadata of {server.resource} proves nothing: {sentence.format(server.resource)}"
    assert refusal(server.resource) == expected


@pytest.mark.parametrize("status", [204, 302])
def test_nothing_but_a_200_counts_and_no_redirect_is_followed(server: ResourceServer, status: int) -> None:
    server.status, server.headers = status, {"Location": f"{server.resource}/elsewhere"}
    assert refusal(server.resource) == (
        f"the metadata of {server.resource} cannot be fetched: the status is {status}, not 200"
    )
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b"\xff", b"[" * 60_000, b"<html>"])
def test_what_is_no_json_object_is_refused(server: ResourceServer, body: bytes) -> None:
    server.body = body
    assert refusal(server.resource) == f"the metadata of {server.resource} is not a JSON object"


def test_a_body_that_is_too_long_is_refused(server: ResourceServer) -> None:
    whole = json.dumps(server.metadata).encode()
    server.body = whole.ljust(MAX_BYTES)
    verify_ownership(server.resource, ORGANIZATION, ISSUER)
    server.body = whole.ljust(MAX_BYTES + 1)
    assert (
        refusal(server.resource)
        == f"the metadata of {server.resource} cannot be fetched: the response has more than 65536 bytes"
    )


def test_a_server_that_takes_too_long_is_refused(server: ResourceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_proof, "TIMEOUT", 0.5)
    server.pause = 0.25
    assert (
        refusal(server.resource)
        == f"the metadata of {server.resource} cannot be fetched: no response within 0.5 seconds"
    )


@pytest.mark.parametrize(
    "resource", ["http://billing.example/v2", "http://127.0.0.2/", "urn:example:billing", "ftp://localhost/"]
)
def test_what_anyone_on_the_way_could_have_written_is_refused(resource: str) -> None:
    assert refusal(resource) == f"the resource {resource} has no metadata that can be trusted: it is not https"


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("http://localhost:1/", "no connection: Connection refused"),
        ("https://%zz/", ""),
        # Metadata of a machine's cloud.
        ("https://169.254.169.254/latest", "the address is not public"),
    ],
)
def test_a_server_that_cannot_be_reached_is_refused(resource: str, reason: str) -> None:
    assert refusal(resource).startswith(f"the metadata of {resource} cannot be fetched: {reason}")


def test_https_needs_a_certificate_that_is_trusted(
    server: ResourceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    resource = server.resource.replace("http:", "https:")
    server.metadata["resource"] = resource
    refused = refusal(resource)
    assert "certificate" in refused, refused
    assert server.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
    verify_ownership(resource, ORGANIZATION, ISSUER)
