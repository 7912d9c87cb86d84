"""The load: one thread that keeps connections busy, or sends requests at a constant rate.

It shares the machine with what it measures, so it does as little as it can for a response: no HTTP library,
requests made in advance, and of a response only the status and the length are read.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

PATIENCE = 10
"""Seconds to wait for any response before the run is given up."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class LoadFailed(Exception):
    """A response was neither a 200 nor a refusal by a quota, or did not come."""


@dataclass(frozen=True)
class Round:
    """What one server answered in one go. Times are in seconds.

    :param responses: how many.
    :param percentiles: per cent -> the latency that so many per cent of the responses did not exceed.
    :param own_cpu: processor time of the load generator.
    :param refused: how many of the responses say that a quota refuses the token.
    :param under_way: at most so many requests were answered that are not among the responses.
    """

    responses: int
    elapsed: float
    own_cpu: float
    percentiles: dict[float, float]
    refused: int = 0
    under_way: int = 0

    @classmethod
    def of(cls, latencies: list[float], elapsed: float, own_cpu: float, refused: int = 0) -> Round:
        """From the latency of each response."""
        ordered = sorted(latencies)
        found = {per_cent: percentile(ordered, per_cent) for per_cent in (50, 99, 99.9, 100)}
        return cls(len(ordered), elapsed, own_cpu, found, refused)

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.responses / self.elapsed


def percentile(ordered: list[float], per_cent: float) -> float:
    """The smallest of *ordered* values that at least *per_cent* of them do not exceed (nearest rank)."""
    rank = -(-len(ordered) * per_cent // 100)
    return ordered[max(int(rank), 1) - 1]


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    since: float = 0.0
    received: list[bytes] = field(default_factory=list)
    refused: int = 0
    """Responses by which a quota refused a token."""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, since: float) -> None:
        """Send a request whose latency counts from *since*."""
        self.since = since
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what has come; whether that is the whole response."""
        data = self.socket.recv(65536)
        if not data:
            raise LoadFailed("the server closed the connection")
        self.received.append(data)
        if not _is_complete(whole := b"".join(self.received)):
            return False
        self.refused += whole.startswith(b"HTTP/1.1 429 ")
        self.received.clear()
        return True


def _open(stack: contextlib.ExitStack, port: int, number: int) -> list[_Connection]:
    """Fresh kept-alive connections. The kernel deals them out to workers by chance, which rounds average."""
    opened = []
    for _ in range(number):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.append(_Connection(connection))
    return opened


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Closed loop: each connection sends its next request as soon as it has the response to the last one.

    :param port: of the loopback.
    :param seconds: after them nothing new is sent.
    :raises LoadFailed: a response is neither a 200 nor a quota's refusal, or none comes.
    """
    latencies: list[float] = []
    now = time.perf_counter
    with contextlib.ExitStack() as stack:
        opened = {one.fileno(): one for one in _open(stack, port, connections)}
        poll = stack.enter_context(select.epoll())
        for descriptor in opened:
            poll.register(descriptor, select.EPOLLIN)
        cpu_begin, begin = time.process_time(), now()
        for client in opened.values():
            client.send(next(upcoming), now())
        busy = connections
        while busy:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise LoadFailed(f"no response for {PATIENCE} seconds")
            for descriptor, _ in ready:
                client = opened[descriptor]
                if not client.receive():
                    continue
                arrived = now()
                latencies.append(arrived - client.since)
                if arrived < begin + seconds:
                    client.send(next(upcoming), arrived)
                else:
                    busy -= 1
        refused = sum(client.refused for client in opened.values())
        return Round.of(latencies, now() - begin, time.process_time() - cpu_begin, refused)


def run_at_rate(port: int, upcoming: Iterator[bytes], *, rate: float, connections: int, seconds: float) -> Round:
    """Open loop: requests are due at a constant rate, whether or not the responses to those before have come.

    A latency counts from the instant at which the request was due, so waiting for a free connection counts as well. A
    closed loop would hide that: while the server is slow, it sends less.

    :param rate: requests a second.
    :param connections: how many requests can be under way at a time.
    :raises LoadFailed: a response is not a 200, or none comes.
    """
    latencies: list[float] = []
    now = time.perf_counter
    total = int(rate * seconds)
    with contextlib.ExitStack() as stack:
        idle = deque(_open(stack, port, connections))
        busy: set[_Connection] = set()
        cpu_begin, begin = time.process_time(), now()
        sent = 0
        while sent < total or busy:
            while sent < total and idle and begin + sent / rate <= now():
                client = idle.popleft()
                client.send(next(upcoming), begin + sent / rate)
                busy.add(client)
                sent += 1
            # select, because epoll rounds a wait up to a millisecond.
            wait = max(0.0, begin + sent / rate - now()) if sent < total and idle else PATIENCE
            ready, _, _ = select.select(list(busy), [], [], wait)
            if not ready and wait == PATIENCE:
                raise LoadFailed(f"no response for {PATIENCE} seconds")
            for client in ready:
                if client.receive():
                    latencies.append(now() - client.since)
                    busy.discard(client)
                    idle.append(client)
        return Round.of(latencies, now() - begin, time.process_time() - cpu_begin)


def _is_complete(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    is_quotas = received.startswith(b"HTTP/1.1 429 ") and received.find(b"\r\nRateLimit: ", 0, head) > 0
    if not is_quotas and not received.startswith(b"HTTP/1.1 200 "):
        raise LoadFailed(f"a response is not a 200: {received[:500]!r}")
    length = _LENGTH.search(received, 0, head + 2)
    if length is None:
        raise LoadFailed(f"a response has no Content-Length: {received[:500]!r}")
    return len(received) >= head + 4 + int(length[1])
