"""A limit for the time that a client takes to receive a response, for which it holds a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

MAX_SECONDS = 300
"""In which a client must receive a response, without the time that the response takes to be made."""

SMALL = 65_536
"""Bytes that a client takes soon, or not at all: then :func:`agentidp.server.listening.limit_sending` ends it."""


def init_app(app: Flask) -> None:
    """Limit what clients of the application take."""
    app.wsgi_app = within(MAX_SECONDS, app.wsgi_app)  # type: ignore[method-assign]


def within(seconds: float, wsgi: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The same WSGI application, whose large responses fail if a client takes longer.

    By the socket's own limit, which is that of a whole ``sendall``, and not of each of its steps, as in the kernel. The
    stock parts and the fast path send a response by that, and remove the limit only before they read a request.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = wsgi(environ, start_response)
        connection = environ.get("gunicorn.socket")
        if connection is None or (type(body) is list and sum(map(len, body)) <= SMALL):
            return body
        return _Body(body, connection, seconds)

    return respond


class _Body:
    """A response's body that limits how long its parts are sent."""

    def __init__(self, parts: Iterable[bytes], connection: Any, seconds: float) -> None:
        self._parts, self._connection, self._seconds = parts, connection, seconds

    def __iter__(self) -> Iterator[bytes]:
        left = self._seconds
        for part in self._parts:
            began = time.monotonic()
            # Zero would be no limit but an error at once.
            self._connection.settimeout(max(left, 0.001))
            yield part
            left -= time.monotonic() - began
        self._connection.settimeout(None)

    def close(self) -> None:
        """What WSGI calls at the end, however it came."""
        if hasattr(self._parts, "close"):
            self._parts.close()
