"""How a request is sent, how its response is read, and how it fails if the server or a proxy misbehaves."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentidp.outbound import client
from agentidp.outbound.client import RequestFailed, Response, request
from agentidp.outbound.networks import LOOPBACK, AllowedNetworks
from tests.deploy.deployment import make_certificate
from tests.factories import PATIENCE
from tests.helpers.outbound_server import responding, server
from tests.machine import within

HERE = AllowedNetworks(LOOPBACK)


def ask(url: str, **arguments: Any) -> Response:
    """Send a GET request, unless *arguments* have another method."""
    request_options: dict[str, Any] = {"networks": HERE, "timeout": PATIENCE, "max_body": 100, "headers": {}}
    return request("GET", urlsplit(url), **request_options | arguments)


def failure(url: str, **arguments: Any) -> str:
    """Return the message of a failed request."""
    with pytest.raises(RequestFailed) as failed:
        ask(url, **arguments)
    return str(failed.value)


def test_a_request_and_its_response() -> None:
    heard: list[bytes] = []
    with server(responding(b"HTTP/1.1 201 Made\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nhi", heard)) as port:
        response = ask(f"http://127.0.0.1:{port}/a?b=c", headers={"X-Two": "2"})
    assert response == Response(201, "Made", [("X-One", "1"), ("Content-Length", "2")], b"hi")
    head, *lines = heard[0].decode().split("\r\n")
    assert head == "GET /a?b=c HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "X-Two: 2", "Connection: close"} <= set(lines)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_returned_and_not_followed(status: int) -> None:
    head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with server(responding(head.encode())) as port:
        assert ask(f"http://127.0.0.1:{port}/").status == status


@pytest.mark.parametrize("framing", ["Content-Length: {}", "X-Until: the end", "Content-Length: 99999999999"])
def test_a_body_is_bounded(framing: str) -> None:
    for size in (100, 101):
        head = f"HTTP/1.1 200 OK\r\n{framing.format(size)}\r\n\r\n".encode()
        with server(responding(head + b"x" * size)) as port:
            if size == 100:
                assert ask(f"http://127.0.0.1:{port}/").body == b"x" * 100
            else:
                assert failure(f"http://127.0.0.1:{port}/") == "the response has more than 100 bytes"


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 2000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: x\r\n"),
    ],
    ids=["informational responses", "headers", "trailers"],
)
def test_headers_are_bounded(head: bytes, line: bytes) -> None:
    """A hostile server would otherwise occupy the processor and the memory of this process until the deadline."""
    with server(responding(head + line * (client.MAX_OVERHEAD // len(line) + 20))) as port:
        assert failure(f"http://127.0.0.1:{port}/") == "the response has too large headers"


def test_a_body_that_nobody_wants_is_not_read() -> None:
    with server(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")) as port:
        assert ask(f"http://127.0.0.1:{port}/", max_body=None).body == b""


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        # The response ends with the connection, so http.client drops the socket.
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.parametrize("drop", [b"", b"x"])
def test_a_server_that_is_silent_or_drips_is_given_up(begin: bytes, drop: bytes) -> None:
    is_over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(begin)
        while not is_over.wait(0.02):
            connection.sendall(drop)

    with server(drip) as port, within(10):
        assert failure(f"http://127.0.0.1:{port}/", timeout=0.3) == "no response within 0.3 seconds"
        is_over.set()


def test_a_deadline_that_passes_while_connecting_ends_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name's first address takes no connection, and the server at the second one never ends its response."""
    connected = client._connect

    def late(addresses: list[str], port: int, timeout: float) -> socket.socket:
        threading.Event().wait(2 * timeout)
        return connected(addresses, port, timeout)

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"a")
                threading.Event().wait(0.01)

    monkeypatch.setattr(client, "_connect", late)
    with server(drip) as port, within(PATIENCE / 2):
        assert failure(f"http://127.0.0.1:{port}/", timeout=0.2) == "no response within 0.2 seconds"


def test_a_name_with_many_silent_addresses_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the name chooses the number of its addresses."""
    resolve = socket.getaddrinfo

    def many(host: str, port: int, *args: Any, **arguments: Any) -> Any:
        hosts = [f"127.0.0.{n}" for n in range(1, 200)] if host == "many.example" else [host]
        return [address for host_name in hosts for address in resolve(host_name, port, *args, **arguments)]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    with contextlib.ExitStack() as opened:
        # The server's queue is full and nobody accepts, so connections to this machine are neither made nor refused.
        listener = opened.enter_context(socket.create_server(("", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(3):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with within(5):
            assert failure(f"http://many.example:{port}/", timeout=0.3) == "no response within 0.3 seconds"


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    is_over = threading.Event()
    with server(lambda _: is_over.wait(PATIENCE) and None) as port, within(10):
        assert failure(f"https://127.0.0.1:{port}/", timeout=0.3) == "no response within 0.3 seconds"
        is_over.set()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "no connection: Connection refused"),
        ("http://127.0.0.1:99999/", "the address has an invalid port"),
        ("http://10.0.0.1/", "the address is not public, and AGENTIDP_ALERT_NETWORKS does not allow it"),
        ("http://1.1.1.1/", "the address is public, and the connection would not be encrypted: use https or TLS"),
    ],
)
def test_why_there_is_no_connection(url: str, reason: str) -> None:
    assert failure(url) == reason


class TestAProxy:
    """The operator's proxy for https."""

    @pytest.fixture
    def context(self, tmp_path: Path) -> ssl.SSLContext:
        make_certificate(tmp_path)
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
        return made

    def test_leads_to_the_server_whose_certificate_counts(
        self, tmp_path: Path, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[bytes] = []

        def lead(connection: socket.socket) -> None:
            responding(b"HTTP/1.1 200 Connected\r\n\r\n", heard)(connection)
            with context.wrap_socket(connection, server_side=True) as encrypted:
                responding(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", heard)(encrypted)

        with server(lead) as port:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
            response = ask("https://localhost/x", proxy=f"http://me:p%40ss@127.0.0.1:{port}")
        assert (response.status, response.body) == (200, b"hi")
        connect, get = (request.decode().split("\r\n") for request in heard)
        assert connect[0].startswith("CONNECT localhost:443 HTTP/1.")
        assert "Proxy-Authorization: Basic bWU6cEBzcw==" in connect
        assert get[0] == "GET /x HTTP/1.1"
        assert "Host: localhost" in get
        assert not any(line.startswith("Proxy-") for line in get)

    def test_is_not_used_without_encryption(self) -> None:
        with server(responding(b"HTTP/1.1 204 OK\r\n\r\n")) as port:
            assert ask(f"http://127.0.0.1:{port}/", proxy="http://127.0.0.1:1").status == 204


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://x.example/", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://x.example/", {"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://x.example/", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, None),
        ("https://x.example/", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://x.example/", {"HTTPS_PROXY": "http://proxy:3128"}, None),
        ("https://x.example/", {}, None),
    ],
)
def test_the_environment_names_a_proxy(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert client.find_proxy(urlsplit(url)) == proxy
