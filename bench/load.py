"""The load: one thread that keeps a number of connections busy, each with one request at a time.

It shares the machine with what it measures, so it does as little as it can for an answer: no HTTP library,
requests made in advance, and of an answer only the status and the length are read.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

PATIENCE = 10
"""Seconds to wait for any answer before the run is given up."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class LoadFailed(Exception):
    """An answer was not a 200, or did not come."""


@dataclass(frozen=True)
class Round:
    """What one server answered in one go. Times are in seconds."""

    latencies: list[float]
    elapsed: float
    own_cpu: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.elapsed


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    received: bytes = b""


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Send the *upcoming* requests over fresh kept-alive connections, and read every answer before returning.

    Fresh ones, because the kernel deals connections out to gunicorn's workers by chance: rounds average that.

    :param port: of the loopback.
    :param seconds: after them nothing new is sent.
    :raises LoadFailed: an answer is not a 200, or none comes.
    """
    latencies: list[float] = []
    now = time.perf_counter
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        opened: dict[int, _Connection] = {}
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened[connection.fileno()] = _Connection(connection)
            poll.register(connection.fileno(), select.EPOLLIN)
        cpu_begin, begin = time.process_time(), now()
        end = begin + seconds
        for client in opened.values():
            client.sent_at = now()
            client.socket.sendall(next(upcoming))
        busy = connections
        while busy:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise LoadFailed(f"no answer for {PATIENCE} seconds")
            for descriptor, _ in ready:
                client = opened[descriptor]
                data = client.socket.recv(65536)
                if not data:
                    raise LoadFailed("the server closed the connection")
                received = client.received + data if client.received else data
                if not _is_complete(received):
                    client.received = received
                    continue
                arrived = now()
                latencies.append(arrived - client.sent_at)
                client.received = b""
                if arrived < end:
                    client.sent_at = arrived
                    client.socket.sendall(next(upcoming))
                else:
                    busy -= 1
        return Round(latencies, now() - begin, time.process_time() - cpu_begin)


def _is_complete(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    if not received.startswith(b"HTTP/1.1 200 "):
        raise LoadFailed(f"an answer is not a 200: {received[:500]!r}")
    length = _LENGTH.search(received, 0, head + 2)
    if length is None:
        raise LoadFailed(f"an answer has no Content-Length: {received[:500]!r}")
    return len(received) >= head + 4 + int(length[1])
