"""A limit for the time that a client takes to receive a response, for which it holds a thread, and the turn in the fair
queue of a request whose response is large or made in parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from agentidp.caller import TURN
from agentidp.services.fair_queue import SMALL, Turn

MAX_SECONDS = 300
"""Maximum seconds in which a client receives a response, without the time in which the response is made."""


def init_app(app: Flask) -> None:
    """Limit how long clients of the application receive."""
    app.wsgi_app = within(MAX_SECONDS, app.wsgi_app)  # type: ignore[method-assign]


def within(seconds: float, wsgi: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The same WSGI application, whose large responses fail if a client takes longer.

    The limit is the socket's own, which is that of a whole ``sendall``, and not of each of its steps, as in the kernel.
    The stock parts and the fast path send a response by that, and remove the limit only before they read a request.

    :param seconds: for which a client may receive a response.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            body = wsgi(environ, start_response)
        except BaseException:
            if TURN in environ:
                environ[TURN].leave()
            raise
        if type(body) is list and sum(map(len, body)) <= SMALL:
            return body
        return _Body(body, environ.get("gunicorn.socket"), seconds, environ.get(TURN))

    return respond


class _Body:
    """A response's body that limits how long its parts are sent, and whose turn runs only while they are made."""

    def __init__(self, parts: Iterable[bytes], connection: Any, seconds: float, turn: Turn | None) -> None:
        self._parts, self._connection, self._seconds, self._turn = parts, connection, seconds, turn

    def __iter__(self) -> Iterator[bytes]:
        left, size, turn = self._seconds, 0, self._turn
        for part in self._parts:
            size += len(part)
            if turn is not None and size > SMALL:
                turn.pause()
            began = time.monotonic()
            self._limit(left)
            yield part
            left -= time.monotonic() - began
            if turn is not None and size > SMALL and type(self._parts) is not list:
                turn.resume()
        self._limit(None)

    def _limit(self, seconds: float | None) -> None:
        if self._connection is not None:
            # Zero would be no limit but an error at once.
            self._connection.settimeout(None if seconds is None else max(seconds, 0.001))

    def close(self) -> None:
        """What WSGI calls at the end, however it came."""
        try:
            if hasattr(self._parts, "close"):
                self._parts.close()
        finally:
            if self._turn is not None:
                self._turn.leave()
                self._turn = None
