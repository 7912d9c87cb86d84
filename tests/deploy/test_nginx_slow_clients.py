"""Clients that send slowly: nginx gives them up, bounds them per address, and responds as with its other errors."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import DEPLOY, NO_ANSWER, Nginx
from tests.deploy.test_nginx_errors import request, respond
from tests.factories import PATIENCE, children, wait_until
from tests.fast_path.echo import everything

HEAD = "POST /api/v1/token HTTP/1.1\r\nHost: idp.example.com\r\n"
BUSY = (
    "HTTP/1.1 503 Service Temporarily Unavailable",
    {"code": "SERVICE_UNAVAILABLE", "message": NO_ANSWER, "details": {}},
)
OAUTH_BUSY = (BUSY[0], {"error": "temporarily_unavailable", "error_description": NO_ANSWER})
[PER_ADDRESS] = map(int, re.findall(r"limit_conn agentidp (\d+);", (DEPLOY / "nginx.conf").read_text()))


@contextlib.contextmanager
def half_sent(port: int, count: int, text: str) -> Iterator[list[socket.socket]]:
    """Return connections on which only *text* of a request was sent."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)) for _ in range(count)]
        for client in clients:
            client.sendall(text.encode())
        yield clients


@pytest.mark.very_slow
def test_slow_headers_and_bodies_are_given_up_after_ten_seconds(tmp_path: Path) -> None:
    body = f"{HEAD}Content-Length: 10\r\n\r\nx"
    with Nginx(tmp_path, tmp_path / "nobody.sock") as nginx:
        with half_sent(nginx.port, 2, HEAD) as headers, half_sent(nginx.port, 2, body) as bodies:
            assert [client.recv(1) for client in (*headers, *bodies)] == [b""] * 4
        wait_until(lambda: len(nginx.requests()) == 4)
        assert [(line["status"], 10 <= line["seconds"] < 20) for line in nginx.requests()] == [("408", True)] * 4


@pytest.mark.slow
def test_requests_at_the_same_time_are_bounded_per_address(tmp_path: Path) -> None:
    with Nginx(tmp_path, tmp_path / "nobody.sock") as nginx:

        def upstream_status(address: str) -> str:
            with socket.create_connection(("127.0.0.1", nginx.port), PATIENCE, source_address=(address, 0)) as client:
                client.sendall(request("/healthz").encode())
                assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 503"
                client.recv(65536)
            wait_until(lambda: nginx.requests()[-1:] and nginx.requests()[-1]["client"] == address)
            return str(nginx.requests()[-1]["upstream_status"])

        with half_sent(nginx.port, PER_ADDRESS, f"{HEAD}Content-Length: 10\r\n\r\nx") as clients:
            wait_until(lambda: upstream_status("127.0.0.1") == "")
            for path, busy in (("/api/v1/agents", BUSY), ("/api/v1/token", OAUTH_BUSY)):
                status, headers, content = respond(nginx.port, request(path))
                assert (status, content, headers["Retry-After"]) == (*busy, "1")
            # Nobody listens behind nginx.
            assert upstream_status("127.0.0.2") == "502"
            clients[0].shutdown(socket.SHUT_RDWR)
            wait_until(lambda: upstream_status("127.0.0.1") == "502")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "another_network"),
    [("2001:db8:0:1::{:x}", "2001:db8:0:2::1"), ("2001:db8::{:x}:1:1:1", "2001:db8:1::1")],
    ids=["whole", "with zeros"],
)
def test_an_ipv6_network_is_bounded_like_an_address(tmp_path: Path, address: str, another_network: str) -> None:
    nginx = Nginx(tmp_path, tmp_path / "nobody.sock")
    configuration = tmp_path / "nginx.conf"
    addresses_from_header = "http {\nset_real_ip_from 127.0.0.1;\nreal_ip_header X-Address;\n"
    configuration.write_text(configuration.read_text().replace("http {\n", addresses_from_header))
    with nginx, contextlib.ExitStack() as stack:

        def upstream_status(client: str) -> str:
            logged = len(nginx.requests())
            respond(nginx.port, request("/healthz", f"X-Address: {client}"))
            wait_until(lambda: len(nginx.requests()) > logged)
            return str(nginx.requests()[logged]["upstream_status"])

        # Nobody listens behind nginx.
        assert upstream_status(address.format(0xFFFF)) == "502"
        for number in range(PER_ADDRESS):
            head = f"{HEAD}X-Address: {address.format(number)}\r\nContent-Length: 10\r\n\r\nx"
            stack.enter_context(half_sent(nginx.port, 1, head))
        wait_until(lambda: upstream_status(address.format(0xFFFF)) == "")
        assert upstream_status(another_network) == "502"


def _is_asleep(process: int) -> bool:
    """Return whether a process waits for an event, so that nginx has read whatever its clients have sent."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.slow
def test_without_a_connection_for_the_service_nginx_says_that_it_is_not_available(tmp_path: Path) -> None:
    path = "/api/v1/agents?client_secret=hunter2"
    line = f"GET {path} HTTP/1.1\r\n"
    with socket.socket(socket.AF_UNIX) as service:
        # It never responds.
        service.bind(str(tmp_path / "service.sock"))
        service.listen(100)
        with Nginx(tmp_path, tmp_path / "service.sock", connections=32) as nginx:
            [worker] = children(nginx.process.pid, "nginx")
            descriptors = Path(f"/proc/{worker}/fd")
            before = len(list(descriptors.iterdir()))
            with half_sent(nginx.port, 20, line) as clients:
                # nginx closes connections of which it has read nothing, if it needs them for others.
                wait_until(lambda: len(list(descriptors.iterdir())) == before + 20 and _is_asleep(worker))
                for client in clients:
                    client.sendall(request(path).removeprefix(line).encode())
                # A forwarded request needs a second connection. How many requests are refused depends on how soon nginx
                # closes the connections of the others.
                wait_until(lambda: bool(nginx.requests()))
                assert {logged["status"] for logged in nginx.requests()} == {"503"}
                [refused, *_], _, _ = select.select(clients, [], [], PATIENCE)
                head, _, body = everything(refused).decode().partition("\r\n\r\n")
                assert (head.partition("\r\n")[0], json.loads(body)) == BUSY
        assert not [file for file in tmp_path.glob("*.log") if "hunter2" in file.read_text()]
