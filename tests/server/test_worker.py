"""The worker under gunicorn: what clients see, however they send; and that no two threads lead."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import inspect
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires, version
from pathlib import Path

import psycopg
import pytest
from gunicorn.http import body, message, parser, unreader, wsgi
from gunicorn.workers import base, gthread

from agentidp import utc_now
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import ROOT, SECRET_KEY, Server, children, free_port, make_agent, make_organization, wait_until
from tests.machine import within
from tests.server.echo import TWO_LEADERS

LEADER = "tests.server.echo.WatchedWorker"


class Gunicorn:
    """gunicorn with one worker and the application of :mod:`tests.server.echo`."""

    def __init__(self, *arguments: str, worker: str = LEADER, threads: int = 4) -> None:
        self.port = free_port()
        self.command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{self.port}"]
        self.command += ["--worker-class", worker, "--threads", str(threads), "--keep-alive", "60"]
        self.command += [*arguments, "tests.server.echo:app"]
        self.log = ""

    def __enter__(self) -> Gunicorn:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        wait_until(self._answers, 30)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers():
            os.kill(worker, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        assert f"exited with code {TWO_LEADERS}" not in self.log, "two threads used the poller at the same time"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/").startswith(b"HTTP/1.1 200")
        return False

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return children(self.process.pid, "gunicorn")

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def get(self, target: str) -> bytes:
        """The response to a request on a connection of its own."""
        with self.connect() as client:
            client.sendall(get(target, close=True))
            return everything(client)


def get(target: str, *, close: bool = False) -> bytes:
    """A request."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{'Connection: close' if close else 'A: b'}\r\n\r\n".encode()


def everything(client: socket.socket) -> bytes:
    """What the server sends until it closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def responses(client: socket.socket, number: int) -> list[bytes]:
    """The bodies of so many responses, in their order."""
    bodies, received = [], b""
    while len(bodies) < number:
        head, found, rest = received.partition(b"\r\n\r\n")
        if found and (length := re.search(rb"Content-Length: (\d+)", head)) and len(rest) >= int(length[1]):
            bodies.append(rest[: int(length[1])])
            received = rest[int(length[1]) :]
            continue
        data = client.recv(65536)
        assert data, f"closed after {len(bodies)} responses: {received!r}"
        received += data
    assert received == b""
    return bodies


@pytest.fixture(scope="module")
def running() -> Iterator[Gunicorn]:
    """One worker with four threads."""
    with Gunicorn() as server:
        yield server


@pytest.fixture(scope="module")
def single() -> Iterator[Gunicorn]:
    """One worker with one thread, which any client that holds a thread would stop."""
    with Gunicorn(threads=1) as server:
        yield server


class TestSlowRequests:
    def test_they_do_not_hold_up_others(self, running: Gunicorn) -> None:
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(running.connect()) for _ in range(3)]
            for client in slow:
                client.sendall(get("/sleep/5?slow"))
            other = stack.enter_context(running.connect())
            for _ in range(20):
                other.sendall(get("/?a"))
                assert responses(other, 1) == [b"a "]
            # None of the slow ones has been answered meanwhile.
            assert select.select(slow, [], [], 0)[0] == []
            assert [responses(client, 1) for client in slow] == [[b"slow "]] * 3

    def test_more_of_them_than_threads_are_served_as_threads_become_free(self, running: Gunicorn) -> None:
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda n: running.get(f"/sleep/0.2?{n}"), range(12)))
        assert [answer.endswith(f"\r\n\r\n{n} ".encode()) for n, answer in enumerate(answers)] == [True] * 12

    def test_each_request_is_served_once_whatever_its_length(self, running: Gunicorn) -> None:
        """Lengths around the instant at which the lead changes, on kept-alive, pipelined and new connections."""
        running.get("/served")

        def ask(number: int) -> int:
            names = [f"{number}-{request}" for request in range(60)]
            with running.connect() as client:
                for i in range(0, 60, 3):
                    delay = (0, 0.003, 0.005, 0.008)[(number + i) % 4]
                    client.sendall(b"".join(get(f"/sleep/{delay}?{name}") for name in names[i : i + 3]))
                    assert responses(client, 3) == [f"{name} ".encode() for name in names[i : i + 3]]
                    if number % 2:
                        client.close()
                        client = running.connect()
                client.close()
            return len(names)

        with ThreadPoolExecutor(16) as pool:
            total = sum(pool.map(ask, range(16)))
        assert running.get("/served").endswith(f"({total + 1}, 1)".encode())

    def test_a_response_that_ends_in_the_middle_leaves_nothing_behind(self, running: Gunicorn) -> None:
        """gunicorn closes such a connection in the thread that serves, and its descriptor is used again at once."""
        workers = running.workers()
        with ThreadPoolExecutor(8) as pool:
            for broken, whole in zip(
                pool.map(lambda _: running.get("/broken?a"), range(40)),
                pool.map(lambda n: running.get(f"/sleep/0.006?{n}"), range(40)),
                strict=True,
            ):
                assert broken.endswith(b"\r\n\r\na")
                assert b" 200 OK" in whole
        assert running.workers() == workers


SLOW_REQUESTS = {
    "a query": (get("/?name=x", close=True), b"name=x "),
    "a body": (
        b"POST /?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 12\r\n\r\nhello, world",
        b"hello, world",
    ),
    "chunks": (
        b"POST /?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"6;e=x\r\nhel\r\nl\r\n2\r\no,\r\n0\r\nT: x\r\n\r\n",
        b"a hel\r\nlo,",
    ),
}


class TestClientsHoldNoThread:
    """With one thread: each would stop the server."""

    def assert_serves(self, server: Gunicorn) -> None:
        with within(1):
            assert server.get("/?a").endswith(b"a ")

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"G",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123456789",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: x\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        ],
    )
    def test_one_that_sends_nothing_or_a_part(self, single: Gunicorn, sent: bytes) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(single.connect()).sendall(sent)
            time.sleep(0.1)
            self.assert_serves(single)

    def test_one_that_does_not_close_after_the_server_has(self, single: Gunicorn) -> None:
        with single.connect() as client:
            client.sendall(get("/?a", close=True))
            assert everything(client).endswith(b"a ")
            self.assert_serves(single)
            # And it is closed at last, though the client never does.
            time.sleep(2.5)
            with pytest.raises(OSError):
                for _ in range(50):
                    client.sendall(b"x")
                    time.sleep(0.05)

    def test_one_that_reads_nothing(self, single: Gunicorn) -> None:
        with single.connect() as client:
            client.sendall(get("/?a") * 100)
            self.assert_serves(single)

    @pytest.mark.parametrize("name", SLOW_REQUESTS)
    def test_a_request_that_comes_byte_by_byte_is_served(self, single: Gunicorn, name: str) -> None:
        request, expected = SLOW_REQUESTS[name]
        with single.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for position in range(len(request)):
                client.sendall(request[position : position + 1])
                time.sleep(0.001)
            assert everything(client).endswith(expected)

    def test_who_expects_to_be_told_to_continue_is_told_once(self, single: Gunicorn) -> None:
        with single.connect() as client:
            client.sendall(b"POST /?a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"hel")
            time.sleep(0.1)
            client.sendall(b"lo")
            assert responses(client, 1) == [b"a hello"]

    def test_pipelined_requests_are_answered_in_their_order(self, single: Gunicorn) -> None:
        with single.connect() as client:
            post = b"POST /?%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            client.sendall(b"".join(get(f"/?{n}") if n % 3 else post % n for n in range(300)) + b"GET /?last HT")
            assert responses(client, 300) == [f"{n} {'' if n % 3 else 'abc'}".encode() for n in range(300)]
            client.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert responses(client, 1) == [b"last "]

    def test_the_limit_on_connections_holds(self) -> None:
        with Gunicorn("--worker-connections", "6", threads=2) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(8)]
            for client in clients:
                client.sendall(get("/?a"))
            for client in clients[:6]:
                assert responses(client, 1) == [b"a "]
            clients[7].settimeout(0.5)
            with pytest.raises(TimeoutError):
                clients[7].recv(1)
            clients[0].close()
            clients[1].close()
            clients[7].settimeout(20)
            assert [responses(client, 1) for client in clients[6:]] == [[b"a "]] * 2


EXCHANGES = {
    "no request line": b"hello\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: x\n",
    "a bare LF in a header": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n",
    "a long line": b"GET /" + b"x" * 5000,
    "a long header": b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "more than is kept": b"GET / HTTP/1.1\r\n" + (b"A: " + b"x" * 8000 + b"\r\n") * 20 + b"Connection: close\r\n\r\n",
    "a method that is none": b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "an unknown transfer coding": b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "no chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a negative chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n\r\n\r\n",
    "a chunk without its end": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcdef\r\n0\r\n\r\n",
    "a long chunk line": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 9000,
    "another expectation": b"POST / HTTP/1.1\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.0": b"GET /?a HTTP/1.0\r\n\r\n",
    "HTTP/1.0, kept alive": b"GET /?a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /?b HTTP/1.0\r\n\r\n",
    "a body that was not read": b"POST /unread?a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + get("/?b", close=True),
    "chunks that were not read": b"POST /unread?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    + get("/?b", close=True),
    "a long body": b"POST /?a HTTP/1.1\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    "long chunks": b"POST /?a HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1000\r\n"
    + b"x" * 4096
    + b"\r\n"
    + (b"2000\r\n" + b"y" * 8192 + b"\r\n") * 20
    + b"0\r\n\r\n",
    "CONNECT": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an error of the application": b"GET /sleep/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line before": b"\r\n" + get("/?a", close=True),
}
"""What is sent, upon which the server must respond and close."""


@pytest.fixture(scope="module")
def threaded() -> Iterator[Gunicorn]:
    """gunicorn's own threaded worker."""
    with Gunicorn(worker="gthread") as server:
        yield server


class TestAsGunicornResponds:
    @pytest.mark.parametrize("name", EXCHANGES)
    def test_to_what_is_no_request_or_an_unusual_one(self, running: Gunicorn, threaded: Gunicorn, name: str) -> None:
        received = []
        for server in (running, threaded):
            with server.connect() as client:
                with contextlib.suppress(ConnectionError):
                    client.sendall(EXCHANGES[name])
                received.append(re.sub(rb"\r\nDate: [^\r]+", b"", everything(client)))
        assert received[0] == received[1]
        assert received[0].startswith(b"HTTP/1.")

    @pytest.mark.parametrize(
        "sent",
        [
            b"",
            b"GET / HTT",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"POST /?a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
            b"POST /?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
            get("/?a"),
            get("/?a") + b"GET / HTT",
        ],
    )
    def test_to_a_client_that_ends_early(self, running: Gunicorn, threaded: Gunicorn, sent: bytes) -> None:
        received = []
        for server in (running, threaded):
            with server.connect() as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                received.append(re.sub(rb"\r\nDate: [^\r]+", b"", everything(client)))
        assert received[0] == received[1]


class TestEnds:
    def test_on_term_what_has_begun_is_finished_and_idle_clients_get_a_moment(self) -> None:
        with Gunicorn() as server, contextlib.ExitStack() as stack:
            idle, late, slow, half, silent = (stack.enter_context(server.connect()) for _ in range(5))
            for client in (idle, late):
                client.sendall(get("/?a"))
                assert responses(client, 1) == [b"a "]
            slow.sendall(get("/sleep/4?slow"))
            half.sendall(b"POST /?half HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            late.sendall(get("/?late"))
            received = everything(late)
            assert b"\r\nConnection: close\r\n" in received
            assert received.endswith(b"late ")
            assert everything(idle) == b""
            assert everything(silent) == b""
            # The idle ones have been closed, and this one may still end its request.
            half.sendall(b"lo")
            assert everything(half).endswith(b"half hello")
            assert everything(slow).endswith(b"slow ")
            assert server.process.wait(20) == 0

    def test_on_term_a_worker_that_serves_nothing_ends_at_once(self) -> None:
        with Gunicorn() as server:
            server.process.send_signal(signal.SIGTERM)
            with within(2):
                server.process.wait(20)

    def test_graceful_timeout_ends_what_goes_on(self) -> None:
        with Gunicorn("--graceful-timeout", "1") as server, server.connect() as client:
            client.sendall(get("/sleep/30"))
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            assert everything(client) == b""
            server.process.wait(20)

    @pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
    def test_on_quit_it_ends_at_once(self, number: signal.Signals) -> None:
        with Gunicorn() as server, server.connect() as client:
            client.sendall(get("/sleep/30"))
            time.sleep(0.5)
            server.process.send_signal(number)
            with within(3):
                server.process.wait(20)

    def test_on_hup_no_request_is_lost(self) -> None:
        with Gunicorn() as server:
            end, answered = threading.Event(), []

            def ask(number: int) -> None:
                while not end.is_set():
                    answer = server.get(f"/sleep/{0.01 * number}?a")
                    answered.append(answer.endswith(b"\r\n\r\na "))

            with ThreadPoolExecutor(4) as pool:
                asking = [pool.submit(ask, number) for number in range(4)]
                try:
                    for _ in range(2):
                        old = server.workers()
                        server.process.send_signal(signal.SIGHUP)
                        wait_until(lambda old=old: server.workers() and not set(old) & set(server.workers()), 30)
                finally:
                    end.set()
                for future in asking:
                    future.result(30)
            assert len(answered) > 10
            assert all(answered)

    def test_a_killed_worker_is_replaced(self) -> None:
        with Gunicorn() as server:
            [old] = server.workers()
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: server.workers() and server.workers() != [old])
            assert server.get("/?a").endswith(b"a ")

    def test_after_max_requests_another_worker_goes_on(self) -> None:
        with Gunicorn("--max-requests", "50") as server:
            first = server.workers()
            assert [server.get(f"/?{n}").endswith(f"{n} ".encode()) for n in range(120)] == [True] * 120
            assert server.workers() != first

    def test_an_application_that_exits_ends_the_worker(self) -> None:
        with Gunicorn() as server:
            old = server.workers()
            server.get("/exit")
            wait_until(lambda: server.workers() and not set(old) & set(server.workers()), 20)
            assert server.get("/?a").endswith(b"a ")

    def test_the_heartbeat_goes_on_while_a_request_is_served(self) -> None:
        with Gunicorn("--timeout", "2", threads=2) as server:
            assert server.get("/sleep/5?a").endswith(b"a ")
            assert "WORKER TIMEOUT" not in server.log

    def test_a_worker_whose_threads_all_hang_is_replaced(self) -> None:
        with Gunicorn("--timeout", "2", threads=2) as server:
            [old] = server.workers()
            with ThreadPoolExecutor(2) as pool:
                hanging = [pool.submit(server.get, "/sleep/60") for _ in range(2)]
                wait_until(lambda: server.workers() and old not in server.workers(), 30)
                assert [answer.result(30) for answer in hanging] == [b""] * 2
            assert server.get("/?a").endswith(b"a ")

    @pytest.mark.parametrize("setting", ["--certfile=setup.cfg", "--http2-cleartext=upgrade", "--protocol=uwsgi"])
    def test_what_it_cannot_speak_is_refused_at_the_start(self, setting: str) -> None:
        command = [*Gunicorn().command, setting]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert result.returncode != 0
        assert "put nginx in front, or use gthread" in result.stderr

    def test_it_listens_on_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        server = Gunicorn("--bind", f"unix:{path}")
        with server, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(get("/?a") + b"GET /?b")
            assert responses(client, 1) == [b"a "]
            client.sendall(b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert responses(client, 1) == [b"b "]


def test_requests_that_wait_for_a_locked_row_hold_up_no_other_organization(database_url: str) -> None:
    """On one worker, as it is deployed."""
    environment = {
        "AGENTIDP_DATABASE_URL": database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        "WEB_CONCURRENCY": "1",
        "AGENTIDP_STATEMENT_TIMEOUT": "15",
        "AGENTIDP_POOL_TIMEOUT": "20",
    }
    services = Services.of(settings_for(database_url), utc_now)
    blocked, other = (make_agent(services, make_organization(services)) for _ in range(2))
    services.close()

    def token(server: Server, client_id: str, secret: str) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
            form = f"grant_type=client_credentials&client_id={client_id}&client_secret={secret}"
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/api/v1/token", form, headers)
            return connection.getresponse().status

    with Server(environment) as server, psycopg.connect(database_url) as locking, ThreadPoolExecutor(4) as pool:
        # Warm, so that only the lock can be what takes long.
        assert token(server, other.client_id, other.client_secret) == 200
        # The first use of a credential is noted in its row.
        locked = locking.execute(
            "select 1 from credentials where organization_id = %s for update", [blocked.organization_id]
        )
        assert locked.rowcount == 1
        waiting = [pool.submit(token, server, blocked.client_id, blocked.client_secret) for _ in range(4)]
        time.sleep(0.3)
        for _ in range(20):
            assert token(server, other.client_id, other.client_secret) == 200
        assert not any(answer.done() for answer in waiting)
        locking.rollback()
        assert [answer.result() for answer in waiting] == [200] * 4


READ = {
    gthread.TConn: "e3a2878ba952710a",
    gthread.PollableMethodQueue: "5b4a78bd3cfb9745",
    gthread.ThreadWorker: "2cde92a57d7bae10",
    base.Worker.init_process: "114caccd7a0e3c21",
    base.Worker.init_signals: "65442e0602b05f37",
    base.Worker.handle_exit: "e2f7159c426d379c",
    base.Worker.handle_quit: "2944b41327615dc6",
    unreader.Unreader: "84aaa8f91fcdbbae",
    unreader.SocketUnreader: "786a257be09ea8dd",
    parser.Parser: "3a9c06e348c7e3b5",
    parser.RequestParser: "7d4a7f9ad92587eb",
    body.LengthReader: "3b01bc7c21a27066",
    body.Body: "2a2afc0b6a50d7ea",
    message.Message.__init__: "14b64a40f29fd0c4",
    message.Message.set_body_reader: "e3ba33f5ac7ca542",
    message.Request.__init__: "f1feb7cdea229ec5",
    message.Request.parse: "34c084607ae12d4f",
    message.Request.read_into: "3f959e4da304d883",
    message.Request.set_body_reader: "db5c46d4c717f58a",
    wsgi.create: "2c35d4a2dc629ede",
}
"""The parts of gunicorn that the worker overrides, calls or relies on, and the digests of what was read."""


def test_gunicorns_private_parts_are_as_they_were_read() -> None:
    """If this fails, read what has changed, see whether the worker's docstring still holds, and note the new digest."""
    digests = {part: hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16] for part in READ}
    assert {part.__qualname__: digest for part, digest in digests.items()} == {
        part.__qualname__: digest for part, digest in READ.items()
    }


def test_the_worker_tries_no_version_of_gunicorn_that_was_not_read() -> None:
    [requirement] = [text for text in requires("agentidp") or [] if text.startswith("gunicorn")]
    assert requirement == "gunicorn<28,>=27.0"
    assert version("gunicorn").startswith("27.")
