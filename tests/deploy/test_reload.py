"""gunicorn replaces its workers, on SIGHUP or in a restart, and loses no request."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from gunicorn.workers import gthread

from tests.conftest import new_agent
from tests.deploy.deployment import DEPLOY, FORM, Deployment, deployed, fetch
from tests.factories import (
    PATIENCE,
    SECRET_KEY,
    Agent,
    Server,
    children,
    usage_sums,
    wait_until,
)


@pytest.fixture(scope="module")
def deployment(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """nginx and gunicorn on a database of their own."""
    with deployed(postgres_url, template, tmp_path_factory.mktemp("reload")) as running:
        # Before it has workers, a signal would end gunicorn.
        wait_until(lambda: len(workers_of(running.unit.process.pid)) == 2)
        yield running


def token_request(agent: Agent) -> bytes:
    """The body of a token request. It is a POST, which nginx sends once."""
    return (f"grant_type=client_credentials&client_id={agent.client_id}&client_secret={agent.client_secret}").encode()


def workers_of(gunicorn: int) -> list[int]:
    """The process ids of the workers."""
    return children(gunicorn, "gunicorn")


def test_reloads_under_load_behind_nginx_lose_no_request(deployment: Deployment) -> None:
    agent = new_agent(deployment.database_url)
    end = threading.Event()

    def ask(headers: dict[str, str]) -> Counter[int]:
        statuses: Counter[int] = Counter()
        client = deployment.nginx.connection()
        while not end.is_set():
            # With "Connection: close" the client opens a connection for each request.
            statuses[fetch(client, "POST", "/api/v1/token", token_request(agent), FORM | headers).status] += 1
        client.close()
        return statuses

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, {"Connection": "close"} if number % 2 else {}) for number in range(8)]
        try:
            for _ in range(3):
                old = workers_of(deployment.unit.process.pid)
                deployment.unit.process.send_signal(signal.SIGHUP)
                wait_until(lambda old=old: not set(old) & set(workers_of(deployment.unit.process.pid)))
        finally:
            end.set()
        statuses = sum((client.result(PATIENCE) for client in clients), Counter())
    assert set(statuses) == {200}
    # And none was sent twice.
    assert usage_sums(deployment.database_url, agent.organization_id)["tokens"] == statuses.total()


@pytest.mark.parametrize("replace", ["reload", "restart"])
def test_a_request_that_meets_the_end_of_a_worker_is_not_lost(deployment: Deployment, replace: str) -> None:
    """A stopping worker closes idle connections. nginx must not send a request into a closed connection."""
    agent, client, unit = new_agent(deployment.database_url), deployment.nginx.connection(), deployment.unit
    assert fetch(client, "POST", "/api/v1/token", token_request(agent), FORM).status == 200
    old = workers_of(unit.process.pid)
    unit.process.send_signal(signal.SIGHUP if replace == "reload" else signal.SIGTERM)
    time.sleep(1.5)
    [nginx_worker] = children(deployment.nginx.process.pid, "nginx")
    # The request comes before the worker closes, and nginx does not see it until afterwards: the unluckiest order.
    os.kill(nginx_worker, signal.SIGSTOP)
    try:
        client.request("POST", "/api/v1/token", token_request(agent), FORM)
        wait_until(lambda: not set(old) & set(workers_of(unit.process.pid)))
        if replace == "restart":
            assert unit.process.wait(PATIENCE) == 0
            unit.start()
            wait_until(lambda: len(workers_of(unit.process.pid)) == 2)
    finally:
        os.kill(nginx_worker, signal.SIGCONT)
    assert client.getresponse().status == 200
    client.close()


def test_nginx_closes_an_idle_connection_before_a_stopping_worker_does() -> None:
    [idle] = re.findall(r"keepalive_timeout (\d+)s;", (DEPLOY / "nginx.conf").read_text())
    assert int(idle) < gthread.STOP_KEEPALIVE_LINGER


def test_over_tcp_behind_a_proxy_a_reload_resets_nothing_in_the_queue(database_url: str) -> None:
    own = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "AGENTIDP_TRUSTED_PROXIES": "1"}
    with Server(own, application="agentidp:create_app()") as server:
        wait_until(lambda: len(server.workers()) == 2)
        old = server.workers()
        # Stopped workers accept no connection, so all requests wait in the queue.
        for worker in old:
            os.kill(worker, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE)) for _ in range(32)
            ]
            try:
                for client in clients:
                    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda: len(server.workers()) == 4)
            finally:
                for worker in old:
                    os.kill(worker, signal.SIGCONT)
            assert [client.recv(12, socket.MSG_WAITALL) for client in clients] == [b"HTTP/1.1 200"] * 32
