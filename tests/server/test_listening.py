"""The addresses on which the service listens. Each refusal is one sentence."""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path
from typing import Any

import pytest

from agentidp.config import ConfigurationError
from agentidp.server.listening import parse_address, refuse_busy_address, refuse_exposed_address
from agentidp.server.sending import limit_sending_time
from agentidp.services.fair_queue import SMALL
from tests.factories import wait_until
from tests.fast_path.echo import Gunicorn, get, responses
from tests.fast_path.echo_app import LARGE

EXPOSED = (
    "cannot listen on {} without a proxy: a client that sends half a request holds a thread of the service for as long "
    "as it likes, so a few such clients stop it; listen on 127.0.0.1 or a UNIX socket, or put nginx in front and set "
    "AGENTIDP_TRUSTED_PROXIES=1"
)


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:3000", "127.255.255.254:1", "[::1]:65535", "localhost:3000", "unix:/run/x.sock", "unix:x,y"]
)
@pytest.mark.parametrize("trusted_proxies", [0, 1])
def test_listens_where_only_this_machine_connects(bind: str, trusted_proxies: int) -> None:
    refuse_exposed_address(bind, trusted_proxies)


@pytest.mark.parametrize(
    "bind",
    [
        *("0.0.0.0:3000", ":3000", "[::]:3000", "10.0.0.1:3000", "128.0.0.1:3000", "[::ffff:10.0.0.1]:3000"),
        *("[fe80::1]:3000", "idp.example:3000", "localhost.example:3000", "127.1:3000"),
    ],
)
def test_listens_elsewhere_behind_a_proxy_only(bind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_exposed_address(bind, 0)
    assert str(caught.value) == EXPOSED.format(bind)
    refuse_exposed_address(bind, 1)
    refuse_exposed_address(bind, 2)


@pytest.mark.parametrize(
    "bind",
    [
        *("", "3000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:٣"),
        *("::1:3000", "[::1:3000", "[::1]x:3000", "fd://3", "tcp://127.0.0.1:3000", "127.0.0.1:3000,0.0.0.0:3001"),
    ],
)
def test_refuses_what_is_no_address(bind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_exposed_address(bind, 1)
    assert str(caught.value) == f"the address to listen on must be address:port or unix:path, not {bind!r}"


def test_refuses_sockets_that_it_cannot_listen_on(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ConfigurationError) as caught:
            refuse_busy_address(f"unix:{path}")
        return str(caught.value)

    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert refusal(path) == f"another process listens on unix:{path}"
    # A socket on which no process listens is replaced.
    refuse_busy_address(f"unix:{path}")
    path.unlink()
    path.touch()
    assert refusal(path) == f"cannot listen on unix:{path}: the file is not a socket"
    missing = tmp_path / "missing" / "socket"
    assert refusal(missing) == f"cannot listen on unix:{missing}: {missing.parent} cannot be written to"


def test_takes_an_address_apart() -> None:
    assert parse_address("[::1]:3000") == ("::1", 3000)
    assert parse_address("localhost:65535") == ("localhost", 65535)


def test_the_limit_is_for_all_parts_of_a_response_together_and_then_gone() -> None:
    ends = socket.socketpair()
    parts = [b"a" * (SMALL // 2), b"b" * (SMALL // 2), b"c"]
    with ends[0] as ours, ends[1]:
        limits = []
        for part in limit_sending_time(60, lambda *_: parts)({"gunicorn.socket": ours}, None):
            assert part == parts[len(limits)]
            limits.append(ours.gettimeout())
        assert limits[0] == 60
        assert limits == sorted(limits, reverse=True)
        assert limits[-1] < 60
        assert ours.gettimeout() is None


@pytest.mark.parametrize("environ", [{"gunicorn.socket": None}, {}])
def test_a_small_response_is_sent_as_it_is_and_a_large_one_needs_no_socket(environ: dict[str, Any]) -> None:
    small, large = [b"a" * SMALL], [b"a" * SMALL, b"b"]
    assert limit_sending_time(60, lambda *_: small)({"gunicorn.socket": object()}, None) is small
    assert list(limit_sending_time(60, lambda *_: large)(environ, None)) == large


CONFIGURATION = """
from agentidp.server.listening import limit_stalled_sending
from agentidp.server.sending import limit_sending_time

def post_worker_init(worker):
    {}
"""
LIMITS = {
    "one part": "limit_stalled_sending(worker.sockets, 1)",
    "all parts": "worker.wsgi = limit_sending_time(1, worker.wsgi)",
}


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["gthread", "agentidp.fast_path.worker.PollingWorker"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_client_that_reads_nothing_or_slowly_holds_no_thread(worker: str, limit: str, tmp_path: Path) -> None:
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(CONFIGURATION.format(LIMITS[limit]))
    with Gunicorn("--config", str(configuration), worker=worker, threads=1) as server:
        with server.connect() as slow, server.connect() as other:
            slow.sendall(get("/large"))
            received = len(slow.recv(1))
            other.sendall(get("/?a"))
            # Receiving the whole response would take half a minute or more.
            with contextlib.suppress(ConnectionResetError):
                while limit == "all parts" and not select.select([other], [], [], 0.01)[0]:
                    received += len(slow.recv(LARGE // 3000))
            assert responses(other, 1) == [b"a "]
            assert 0 < received < LARGE
        wait_until(lambda: "Socket error processing request." in server.log)
