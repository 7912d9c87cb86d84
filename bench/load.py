"""The load generator: one thread that keeps connections busy.

It shares the machine with the server that it measures, so it does little per response: it uses no HTTP library,
prepares requests in advance, and reads only the status and the length of a response.
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
"""Maximum seconds to wait for a response before the run fails."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class LoadFailed(Exception):
    """A response was neither a 200 nor a refusal by a quota, or did not arrive."""


@dataclass(frozen=True)
class Round:
    """The responses of one server in one round. Times are in seconds.

    :param responses: the number of responses.
    :param percentiles: per cent -> the latency that this percentage of the responses did not exceed.
    :param refused: the number of responses by which a quota refused a token.
    """

    responses: int
    elapsed: float
    percentiles: dict[int, float]
    refused: int = 0

    @property
    def rate(self) -> float:
        """Return responses per second."""
        return self.responses / self.elapsed


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    since: float = 0.0
    received: bytes = b""

    def send(self, request: bytes, since: float) -> None:
        """Send a request whose latency counts from *since*."""
        self.since = since
        self.socket.sendall(request)

    def receive(self) -> bytes:
        """Read received bytes and return the response if it is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise LoadFailed("the server closed the connection")
        self.received += data
        if not _is_complete(self.received):
            return b""
        response, self.received = self.received, b""
        return response


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Load a port of the loopback: each connection sends its next request as soon as it has the last response.

    :param seconds: seconds in which requests are sent.
    :raises LoadFailed: a response is neither a 200 nor a quota's refusal, or does not arrive.
    """
    latencies: list[float] = []
    now = time.perf_counter
    with contextlib.ExitStack() as stack:
        clients = {}
        poll = stack.enter_context(select.epoll())
        # The kernel assigns new connections to workers by chance, which rounds average.
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(connection, select.EPOLLIN)
            clients[connection.fileno()] = _Connection(connection)
        begin = now()
        for client in clients.values():
            client.send(next(upcoming), now())
        busy, refused = connections, 0
        while busy:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise LoadFailed(f"no response for {PATIENCE} seconds")
            for descriptor, _ in ready:
                client = clients[descriptor]
                if not (response := client.receive()):
                    continue
                arrived = now()
                refused += response.startswith(b"HTTP/1.1 429 ")
                latencies.append(arrived - client.since)
                if arrived < begin + seconds:
                    client.send(next(upcoming), arrived)
                else:
                    busy -= 1
        elapsed, latencies = now() - begin, sorted(latencies)
        percentiles = {per_cent: latencies[-(-len(latencies) * per_cent // 100) - 1] for per_cent in (50, 99)}
        return Round(len(latencies), elapsed, percentiles, refused)


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
