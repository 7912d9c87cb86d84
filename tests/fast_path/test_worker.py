"""The worker under gunicorn: its responses, and that only one thread at a time serves a connection."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from gunicorn.config import Config
from gunicorn.workers import gthread

from agentidp import utc_now
from agentidp.fast_path.worker import cache_settings
from agentidp.services import Services
from bench.servers import cpu_seconds
from tests.citus import someone_waits
from tests.conftest import settings_for
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    Agent,
    Server,
    ServerWithoutLauncher,
    make_agent,
    make_organization,
    wait_until,
)
from tests.fast_path.echo import Gunicorn, everything, get, responses
from tests.machine import within

pytestmark = pytest.mark.very_slow


@pytest.fixture(scope="module")
def running() -> Iterator[Gunicorn]:
    """Run one worker with four threads."""
    with Gunicorn() as server:
        yield server


@pytest.fixture(scope="module")
def single_threaded() -> Iterator[Gunicorn]:
    """Run one worker with one thread."""
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
            assert select.select(slow, [], [], 0)[0] == [], "a slow one was answered meanwhile"
            assert [responses(client, 1) for client in slow] == [[b"slow "]] * 3

    def test_one_that_takes_longer_than_the_keep_alive_time_is_answered(self) -> None:
        with Gunicorn(keepalive=3) as server, server.connect() as client:
            client.sendall(get("/?a"))
            assert responses(client, 1) == [b"a "]
            client.sendall(get("/sleep/5?slow"))
            assert responses(client, 1) == [b"slow "]
            assert everything(client) == b"", "and closed when it was idle for so long"

    def test_what_arrives_meanwhile_keeps_no_thread_busy(self, running: Gunicorn) -> None:
        with running.connect() as client:
            client.sendall(get("/sleep/2?slow"))
            time.sleep(0.2)
            begin = cpu_seconds(running.process.pid)
            client.sendall(get("/?next"))
            time.sleep(1)
            assert cpu_seconds(running.process.pid) - begin < 0.5
            assert responses(client, 2) == [b"slow ", b"next "]

    def test_the_heartbeat_goes_on_while_all_threads_serve(self) -> None:
        with Gunicorn("--timeout", "4", threads=1) as server:
            assert server.get("/sleep/7?a").endswith(b"a ")
            assert "WORKER TIMEOUT" not in server.log


class TestConnections:
    def test_each_request_is_served_once(self, running: Gunicorn) -> None:
        """The clients use kept-alive, pipelined and new connections, and outnumber the threads."""
        running.get("/served")

        def ask(number: int) -> int:
            names = [f"{number}-{request}" for request in range(60)]
            with running.connect() as first:
                client = first
                for i in range(0, 60, 3):
                    delay = (0, 0.001, 0.003, 0.005)[(number + i) % 4]
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

    def test_one_that_sends_nothing_holds_no_thread(self, single_threaded: Gunicorn) -> None:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(single_threaded.connect()) for _ in range(20)]
            assert single_threaded.get("/?a").endswith(b"a ")
            assert select.select(clients, [], [], 0)[0] == [], "they were idle for too long"

    def test_pipelined_requests_are_answered_in_their_order(self, running: Gunicorn) -> None:
        with running.connect() as client:
            post = b"POST /?%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            client.sendall(b"".join(get(f"/?{n}") if n % 3 else post % n for n in range(300)) + b"GET /?last HT")
            assert responses(client, 300) == [f"{n} {'' if n % 3 else 'abc'}".encode() for n in range(300)]
            client.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert responses(client, 1) == [b"last "]

    def test_a_request_that_comes_byte_by_byte_is_served(self, running: Gunicorn) -> None:
        request = b"POST /?a HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nhello, world"
        with running.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for position in range(len(request)):
                client.sendall(request[position : position + 1])
                time.sleep(0.001)
            assert responses(client, 1) == [b"a hello, world"]

    def test_a_response_that_ends_in_the_middle_closes_only_its_connection(self, running: Gunicorn) -> None:
        """The closed connection's descriptor is reused at once."""
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

    def test_an_application_that_exits_ends_no_thread(self, single_threaded: Gunicorn) -> None:
        workers = single_threaded.workers()
        for _ in range(3):
            assert single_threaded.get("/exit") == b""
            assert single_threaded.get("/?a").endswith(b"a ")
        assert single_threaded.workers() == workers

    def test_one_that_pipelines_waits_its_turn(self, single_threaded: Gunicorn) -> None:
        with single_threaded.connect() as client:
            client.sendall(get("/sleep/0.05?a") * 80)
            assert single_threaded.get("/?b").endswith(b"b ")
            assert client.recv(65536, socket.MSG_PEEK).count(b" 200 OK") < 80, "it came after all of the other's"
            assert responses(client, 80) == [b"a "] * 80

    def test_one_that_pipelines_and_reads_nothing_holds_no_thread(self, single_threaded: Gunicorn) -> None:
        with single_threaded.connect() as client:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send(get("/?" + "a" * 4000) * 10)
            assert single_threaded.get("/?b").endswith(b"b ")

    def test_the_limit_on_connections(self) -> None:
        with Gunicorn("--worker-connections", "6", threads=2) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(8)]
            # Both threads are busy, and four requests wait for them.
            for client, path in zip(clients[:6], ["/sleep/4?a"] * 2 + ["/?a"] * 4, strict=True):
                client.sendall(get(path, close=True))
            for client in clients[6:]:
                client.sendall(get("/?b", close=True))
            clients[7].settimeout(0.5)
            with pytest.raises(TimeoutError):
                clients[7].recv(1)
            clients[7].settimeout(PATIENCE)
            assert [everything(client)[-2:] for client in clients] == [b"a "] * 6 + [b"b "] * 2

    def test_a_place_that_becomes_free_is_used_at_once(self) -> None:
        with Gunicorn("--worker-connections", "4") as server, ThreadPoolExecutor(12) as pool, within(5):
            assert all(pool.map(lambda _: server.get("/?a").endswith(b"a "), range(60)))

    def test_one_that_goes_on_sending_after_the_end_is_closed(self, running: Gunicorn) -> None:
        with running.connect() as client:
            client.sendall(get("/?a", close=True))
            assert everything(client).endswith(b"a ")
            with within(5), pytest.raises(OSError):
                while True:
                    client.sendall(b"x")
                    time.sleep(0.01)


EXCHANGES = {
    "no request line": b"hello\r\n\r\n",
    "a long line": b"GET /" + b"x" * 5000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no chunk": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/1.0, kept alive": b"GET /?a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /?b HTTP/1.0\r\n\r\n",
    "a body that was not read": b"POST /unread?a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + get("/?b", close=True),
    "chunks that were not read": b"POST /unread?a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    + get("/?b", close=True),
    "a long body": b"POST /?a HTTP/1.1\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    "an error of the application": b"GET /sleep/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "the end after a part": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "the end after a part of a body": b"POST /?a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
    "the end after a request": get("/?a"),
}


@pytest.fixture(scope="module")
def threaded() -> Iterator[Gunicorn]:
    """Run the stock worker."""
    with Gunicorn(worker="agentidp.http.worker.Worker") as server:
        yield server


@pytest.mark.parametrize("name", EXCHANGES)
def test_it_responds_as_the_stock_worker(running: Gunicorn, threaded: Gunicorn, name: str) -> None:
    received = []
    for server in (running, threaded):
        with server.connect() as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(EXCHANGES[name])
                if name.startswith("the end"):
                    client.shutdown(socket.SHUT_WR)
            received.append(re.sub(rb"\r\nDate: [^\r]+", b"", everything(client)))
    assert received[0] == received[1]


class TestStopping:
    def test_on_term_what_has_begun_is_finished_and_idle_clients_get_a_moment(self) -> None:
        with Gunicorn() as server, contextlib.ExitStack() as stack:
            idle, late, slow, half, silent = (stack.enter_context(server.connect()) for _ in range(5))
            for client in (idle, late):
                client.sendall(get("/?a"))
                assert responses(client, 1) == [b"a "]
            slow.sendall(get("/sleep/4?slow"))
            half.sendall(b"POST /?half HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
            # The worker accepts connections in order, so it has accepted the five.
            assert server.get("/?b").endswith(b"b ")
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)

            def is_last() -> bool:
                late.sendall(get("/?late"))
                received = b""
                while not received.endswith(b"late "):
                    received += late.recv(65536) or pytest.fail("closed without a response")
                return b"\r\nConnection: close\r\n" in received

            wait_until(is_last)
            assert everything(late) == b""
            assert everything(idle) == b""
            assert time.monotonic() - begin >= gthread.STOP_KEEPALIVE_LINGER
            assert everything(silent) == b""
            # The idle connections have been closed, and this client may still complete its request.
            half.sendall(b"lo")
            assert everything(half).endswith(b"half hello")
            assert everything(slow).endswith(b"slow ")
            assert server.process.wait(PATIENCE) == 0

    def test_a_request_that_waits_for_a_thread_is_not_idle(self) -> None:
        with Gunicorn(threads=1, keepalive=3) as server, server.connect() as first, server.connect() as second:
            for client in (first, second):
                client.sendall(get("/?a"))
                assert responses(client, 1) == [b"a "]
            first.sendall(get("/sleep/5?slow"))
            time.sleep(0.2)
            second.sendall(get("/?waited"))
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            assert everything(first).endswith(b"slow ")
            assert everything(second).endswith(b"waited ")
            server.process.wait(PATIENCE)

    def test_a_request_behind_another_is_not_idle_while_it_waits_for_a_thread(self) -> None:
        with Gunicorn(threads=1) as server, server.connect() as first, server.connect() as second:
            for client in (first, second):
                client.sendall(get("/?a"))
                assert responses(client, 1) == [b"a "]
            second.sendall(get("/sleep/3?b") + get("/?waited"))
            time.sleep(0.3)
            first.sendall(get("/sleep/5?slow"))
            assert responses(second, 1) == [b"b "]
            server.process.send_signal(signal.SIGTERM)
            assert everything(second).endswith(b"waited ")
            assert everything(first).endswith(b"slow ")
            server.process.wait(PATIENCE)

    @pytest.mark.parametrize("worker", ["agentidp.fast_path.worker.PollingWorker", "agentidp.http.worker.Worker"])
    def test_on_term_what_waits_at_the_workers_own_listening_socket_is_answered(self, worker: str) -> None:
        with Gunicorn("--reuse-port", worker=worker) as server, contextlib.ExitStack() as stack:
            [process] = server.workers()
            # A stopped worker accepts no connection, so all requests wait in the queue of its listening socket.
            os.kill(process, signal.SIGSTOP)
            try:
                clients = [stack.enter_context(server.connect()) for _ in range(20)]
                for client in clients:
                    client.sendall(get("/?a"))
                    client.shutdown(socket.SHUT_WR)
                os.kill(process, signal.SIGTERM)
            finally:
                os.kill(process, signal.SIGCONT)
            assert [everything(client).endswith(b"a ") for client in clients] == [True] * 20

    @pytest.mark.parametrize("worker", ["agentidp.fast_path.worker.PollingWorker", "agentidp.http.worker.Worker"])
    def test_on_term_a_worker_accepts_no_more_connections_than_it_may_have(self, worker: str) -> None:
        """Descriptors that run out would end the worker, and all its requests."""
        with (
            Gunicorn("--reuse-port", "--worker-connections", "10", worker=worker) as server,
            contextlib.ExitStack() as stack,
        ):
            [process] = server.workers()
            os.kill(process, signal.SIGSTOP)
            try:
                clients = [stack.enter_context(server.connect()) for _ in range(40)]
                for client in clients:
                    client.sendall(get("/?a"))
                    client.shutdown(socket.SHUT_WR)
                os.kill(process, signal.SIGTERM)
            finally:
                os.kill(process, signal.SIGCONT)
            # A connection can end before the worker counts the others, so the worker may respond on some more.
            assert 0 < sum(everything(client).endswith(b"a ") for client in clients) < 20

    def test_a_worker_that_finishes_a_request_leaves_new_connections_to_others(self) -> None:
        with Gunicorn("--reuse-port", "--graceful-timeout", "600") as server, server.connect() as slow:
            [process] = server.workers()
            slow.sendall(get("/sleep/600?slow"))
            wait_until(lambda: b"(2, " in server.get("/served"))
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: set(server.workers()) - {process} and server.responds())
            assert [server.get(f"/?{n}").endswith(f"{n} ".encode()) for n in range(40)] == [True] * 40
            assert process in server.workers(), "the old worker has not waited for its slow request"

    def test_on_term_a_worker_without_connections_ends_at_once(self) -> None:
        with Gunicorn() as server:
            server.process.send_signal(signal.SIGTERM)
            with within(2):
                server.process.wait(PATIENCE)

    @pytest.mark.parametrize(
        ("timeout", "number"), [("1", signal.SIGTERM), ("600", signal.SIGQUIT), ("600", signal.SIGINT)]
    )
    def test_on_quit_and_after_the_graceful_timeout_what_goes_on_is_ended(
        self, timeout: str, number: signal.Signals
    ) -> None:
        with Gunicorn("--graceful-timeout", timeout) as server, server.connect() as client:
            client.sendall(get("/sleep/600?slow"))
            wait_until(lambda: b"(2, " in server.get("/served"))
            server.process.send_signal(number)
            assert everything(client) == b""
            server.process.wait(PATIENCE)

    def test_after_max_requests_another_worker_goes_on(self) -> None:
        with Gunicorn("--max-requests", "50") as server:
            first = server.workers()
            assert [server.get(f"/?{n}").endswith(f"{n} ".encode()) for n in range(120)] == [True] * 120
            wait_until(lambda: server.workers() != first)


def test_requests_that_wait_for_a_locked_row_hold_up_no_other_organization(database_url: str) -> None:
    """The service has one worker, with the settings of a deployment."""
    environment = {
        "AGENTIDP_DATABASE_URL": database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        "WEB_CONCURRENCY": "1",
        "AGENTIDP_STATEMENT_TIMEOUT": "23",
        "AGENTIDP_POOL_TIMEOUT": "25",
    }
    services = Services.of(settings_for(database_url), utc_now)
    blocked, other = (make_agent(services, make_organization(services)) for _ in range(2))
    services.close()

    def token(server: Server, agent: Agent) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/api/v1/token", urlencode(agent.form), headers)
            return connection.getresponse().status

    with ServerWithoutLauncher(environment) as server, ThreadPoolExecutor(4) as pool:
        # The first request is slow, so that later only the lock can take long.
        assert token(server, other) == 200
        with locked_counters(database_url, blocked):
            waiting = [pool.submit(token, server, blocked) for _ in range(4)]
            wait_until(lambda: someone_waits(database_url))
            for _ in range(20):
                assert token(server, other) == 200
            assert not any(answer.done() for answer in waiting)
        assert [answer.result() for answer in waiting] == [200] * 4


_ADD_COUNTERS = """
insert into agent_usage_daily
    (
        organization_id, day, agent_id, slot, tokens, requests, rejected,
        tokens_by_hour, requests_by_hour, rejected_by_hour
    )
select organization_id, (now() at time zone 'UTC')::date + days, agent_id, slot, 0, 0, 0,
    count_nothing(), count_nothing(), count_nothing()
from agents
cross join generate_series(0, 1) as days
cross join generate_series(0, 15) as slot
where organization_id = %(organization)s and agent_id = %(agent)s
on conflict do nothing
"""
_LOCK_COUNTERS = """
select from agent_usage_daily
where organization_id = %(organization)s and agent_id = %(agent)s and day >= (now() at time zone 'UTC')::date
for update
"""


@contextlib.contextmanager
def locked_counters(url: str, agent: Agent) -> Iterator[None]:
    """Lock an agent's counters of today and tomorrow, because midnight may be near, until the block ends."""
    parameters = {"organization": agent.organization_id, "agent": agent.agent_id}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_ADD_COUNTERS, parameters)
        with connection.transaction():
            connection.execute(_LOCK_COUNTERS, parameters)
            yield


class TestWhatARequestCosts:
    """The savings in the worker's docstring, and the behaviour that must stay as gunicorn's."""

    def test_a_body_that_nobody_reads_and_that_does_not_end_closes_the_connection(self, running: Gunicorn) -> None:
        with running.connect() as client:
            client.sendall(b"POST /unread?a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            assert responses(client, 1) == [b"a "]
            client.settimeout(PATIENCE)
            assert client.recv(1) == b""

    def test_settings_are_looked_up_once(self) -> None:
        cfg = Config()
        before = {name: getattr(cfg, name) for name in cfg.settings}
        cache_settings(cfg)
        assert {name: getattr(cfg, name) for name in cfg.settings} == before
        assert vars(cfg)["limit_request_line"] == 4094
        # Settings that gunicorn computes from other settings.
        assert cfg.address == Config().address
        assert cfg.is_ssl == Config().is_ssl

    def test_a_running_worker_has_the_savings(self, running: Gunicorn, threaded: Gunicorn) -> None:
        savings = []
        for server in (running, threaded):
            with server.connect() as client:
                for _ in range(2):
                    client.sendall(get("/savings"))
                    [body] = responses(client, 1)
                savings.append(body)
        assert savings == [b"shares: True, keeps settings: True", b"shares: False, keeps settings: False"]

    def test_a_configuration_with_a_hook_that_is_never_called_is_warned_about(self, tmp_path: Path) -> None:
        configuration = tmp_path / "gunicorn.conf.py"
        configuration.write_text("def post_request(worker, request, environ, response):\n    pass\n")
        with Gunicorn("--config", str(configuration)) as server:
            wait_until(lambda: "The hook post_request is never called by this worker." in server.log)
        assert "pre_request" not in server.log
