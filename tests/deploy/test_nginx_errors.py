"""Errors of nginx itself, whole: in the application's form, or RFC 6749's at the three OAuth endpoints."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.deployment import NO_ANSWER, Nginx
from tests.factories import PATIENCE, wait_until
from tests.routes import CLIENT_PATHS

OTHERS = ["/api/v1/agents", "/api/v1/token/other", "/api/v1/tokens", "/.well-known/jwks.json", "/dashboard", "/"]


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx without a server behind it."""
    directory = tmp_path_factory.mktemp("nginx")
    with Nginx(directory, directory / "nobody.sock") as running:
        yield running


def respond(port: int, request: str) -> tuple[str, dict[str, str], dict[str, object]]:
    """Return the status line, the headers and the body of the response of nginx."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client, client.makefile("rb") as received:
        client.sendall(request.encode("latin-1"))
        status, *lines = iter(lambda: received.readline().decode().removesuffix("\r\n"), "")
        headers = dict(line.split(": ", 1) for line in lines)
        assert len(headers) == len(lines)
        return status, headers, json.loads(received.read(int(headers["Content-Length"])))


def assert_error(
    port: int, request: str, status: str, body: dict[str, object], further: dict[str, str] | None = None
) -> None:
    """Status, headers and body are these and no others."""
    received_status, headers, received = respond(port, request)
    assert (received_status, received) == (f"HTTP/1.1 {status}", body)
    assert re.fullmatch(r"[0-9a-f]{32}", headers.pop("X-Request-Id"))
    for varying in ("Server", "Date", "Content-Length"):
        headers.pop(varying)
    assert headers == {
        "Connection": "close",
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=31536000",
        **(further or {}),
    }


def request(path: str, header: str = "", *, method: str = "GET", host: str = "Host: idp.example.com") -> str:
    """A request that asks nginx to close the connection."""
    lines = [f"{method} {path} HTTP/1.1", host, "Connection: close", header]
    return "".join(f"{line}\r\n" for line in lines if line) + "\r\n"


def ours(code: str, message: str) -> dict[str, object]:
    """The application's form."""
    return {"code": code, "message": message, "details": {}}


def oauth(error: str, description: str) -> dict[str, object]:
    """RFC 6749's form."""
    return {"error": error, "error_description": description}


INVALID = "The request is not valid."
SITUATIONS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "no host": ({"host": ""}, "400 Bad Request", "invalid_request", "VALIDATION_ERROR", INVALID),
    # nginx has no words for it.
    "large headers": (
        {"header": "X: " + "x" * 40_000},
        "431 ",
        "invalid_request",
        "VALIDATION_ERROR",
        "The request headers are too large.",
    ),
    "large body": (
        {"header": "Content-Length: 65536", "method": "POST"},
        "413 Request Entity Too Large",
        "invalid_request",
        "PAYLOAD_TOO_LARGE",
        "The request body is too large.",
    ),
    "no application": (
        {},
        "503 Service Temporarily Unavailable",
        "temporarily_unavailable",
        "SERVICE_UNAVAILABLE",
        NO_ANSWER,
    ),
    "a method that nginx refuses": (
        {"method": "TRACE"},
        "405 Not Allowed",
        "invalid_request",
        "METHOD_NOT_ALLOWED",
        "This address does not take this method.",
    ),
    "plain HTTP on the port for HTTPS": ({}, "400 Bad Request", "invalid_request", "VALIDATION_ERROR", INVALID),
}
"""What is wrong with a request whose address nginx could read, and what it gets: the status, the error of OAuth, the
code of other addresses, and the message.
"""


@pytest.mark.parametrize("query", ["", "?client_secret=hunter2", "#client_secret=hunter2"])
@pytest.mark.parametrize("path", [*CLIENT_PATHS, *OTHERS])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_error_at_each_address(nginx: Nginx, situation: str, path: str, query: str) -> None:
    sent, status, error, code, message = SITUATIONS[situation]
    body = oauth(error, message) if path in CLIENT_PATHS else ours(code, message)
    further = {"Retry-After": "1"} if situation == "no application" else {}
    port = nginx.tls_port if situation.startswith("plain HTTP") else nginx.port
    assert_error(port, request(path + query, **sent), status, body, further)


@pytest.mark.parametrize(
    "line", ["GET", "nonsense / HTTP/1.1 x", "GET /\0 HTTP/1.1", "GET /api/v1/token HTTP/9.9", "\x16\x03\x01"]
)
def test_a_request_line_that_nginx_cannot_read(nginx: Nginx, line: str) -> None:
    body = ours("VALIDATION_ERROR", "The request is not valid.")
    assert_error(nginx.port, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n", "400 Bad Request", body)


@pytest.mark.parametrize("path", [CLIENT_PATHS[0], OTHERS[0]])
def test_a_long_request_line(nginx: Nginx, path: str) -> None:
    body = ours("VALIDATION_ERROR", "The request line is too long.")
    assert_error(nginx.port, request(f"{path}?{'x' * 40_000}"), "414 Request-URI Too Large", body)


@pytest.mark.parametrize(
    ("option", "status", "message"),
    [
        ("--request TRACE", "405", "This address does not take this method."),
        (f"--data {'x' * 65_536}", "413", "The request body is too large."),
    ],
    ids=["method", "body"],
)
def test_by_http_2_errors_are_the_same(nginx: Nginx, option: str, status: str, message: str) -> None:
    asked = subprocess.run(
        f"curl --silent --http2 --cacert {nginx.directory}/tls.crt --write-out '\n%{{http_version}} %{{http_code}}' "
        f"{option} https://localhost:{nginx.tls_port}/api/v1/token",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, spoken = asked.stdout.rpartition("\n")
    assert (spoken, json.loads(body)) == (f"2 {status}", oauth("invalid_request", message))


def test_a_transfer_coding_that_nginx_does_not_know(nginx: Nginx) -> None:
    sent = request("/api/v1/token", "Transfer-Encoding: gzip", method="POST")
    assert_error(nginx.port, sent, "400 Bad Request", oauth("invalid_request", "The request is not valid."))


def test_the_location_of_errors_is_no_address(nginx: Nginx) -> None:
    body = ours("NOT_FOUND", "There is nothing at this address.")
    assert_error(nginx.port, request("/agentidp-error"), "404 Not Found", body)


def test_the_log_has_the_address_without_the_query_and_the_fragment(nginx: Nginx) -> None:
    respond(nginx.port, request("/api/v1/agents?client_secret=hunter2", "Referer: https://hunter2/"))
    respond(nginx.port, request("/api/v1/agents#client_secret=hunter2"))
    respond(nginx.port, "nonsense\r\n\r\n")
    # nginx logs a request after it has responded.
    wait_until(lambda: [line["path"] for line in nginx.requests()[-1:]] == [""])
    logged = [(line["path"], line["status"], line["upstream_status"]) for line in nginx.requests()[-3:-1]]
    assert logged == [("/api/v1/agents", "503", "502")] * 2
    assert not [file for file in nginx.directory.glob("*.log") if "hunter2" in file.read_text()]
