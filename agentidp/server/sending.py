"""Limits the time that a client takes to receive a large response, because each response occupies a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask

from agentidp.caller import TURN
from agentidp.services.fair_queue import SMALL, Turn

MAX_SECONDS = 300
"""Maximum seconds that a client may take to receive a response, not counting the time to compute the response."""


def init_app(app: Flask) -> None:
    """Limit how long clients may take to receive the application's responses."""
    app.wsgi_app = limit_sending_time(MAX_SECONDS, app.wsgi_app)  # type: ignore[method-assign]


def limit_sending_time(seconds: float, wsgi: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Wrap a WSGI application, so that sending a response fails if the client takes too long.

    A small list is not wrapped, so only ``limit_stalled_sending`` (``server/listening.py``) limits it. Only the fast
    path returns lists (``send_response`` in ``fast_path/application.py``). Werkzeug returns iterators, so this function
    limits each response on stock parts.
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
    """A response body that limits the time for sending. During sending, the request's turn in the queue is paused."""

    def __init__(self, chunks: Iterable[bytes], connection: Any, seconds: float, turn: Turn | None) -> None:
        self._chunks, self._connection, self._seconds, self._turn = chunks, connection, seconds, turn

    def __iter__(self) -> Iterator[bytes]:
        remaining_seconds, queue_turn = self._seconds, self._turn
        for chunk in self._chunks:
            # Sending may block until the client has received earlier chunks, so the request's turn in the fair queue is
            # paused during sending.
            if queue_turn is not None:
                queue_turn.pause()
            began_at = time.monotonic()
            self._set_timeout(remaining_seconds)
            yield chunk
            remaining_seconds -= time.monotonic() - began_at
            # The request waits until it may run again before the loop computes the next chunk. A list needs no wait,
            # because its chunks are already computed.
            if queue_turn is not None and type(self._chunks) is not list:
                queue_turn.resume()
        self._set_timeout(None)

    def _set_timeout(self, seconds: float | None) -> None:
        # Python's timeout limits an entire sendall(). A kernel timeout would limit each system call separately.
        if self._connection is not None:
            # The minimum is 1 ms, because a timeout of zero would make the socket non-blocking.
            self._connection.settimeout(None if seconds is None else max(seconds, 0.001))

    def close(self) -> None:
        """Close the response and leave the fair queue. WSGI servers call this after success and after errors."""
        try:
            if hasattr(self._chunks, "close"):
                self._chunks.close()
        finally:
            if self._turn is not None:
                self._turn.leave()
                self._turn = None
