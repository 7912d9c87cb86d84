"""A WSGI application that says what it was asked, and a worker that ends if two threads lead. For gunicorn."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentidp.server.worker import LeaderWorker

TWO_LEADERS = 77
"""The exit code of a worker in which two threads used the poller at the same time."""

served: Counter[str] = Counter()


class _Watched(selectors.DefaultSelector):
    """A poller that no two threads may use at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.user = threading.Lock()

    def _alone(self, method: Callable[..., Any], *arguments: Any) -> Any:
        if not self.user.acquire(blocking=False):
            os._exit(TWO_LEADERS)
        try:
            return method(*arguments)
        finally:
            self.user.release()

    def select(self, timeout: float | None = None) -> Any:
        return self._alone(super().select, timeout)

    def register(self, *arguments: Any) -> Any:
        return self._alone(super().register, *arguments)

    def unregister(self, fileobj: Any) -> Any:
        return self._alone(super().unregister, fileobj)


class WatchedWorker(LeaderWorker):
    """Ends its process if two threads lead."""

    def run(self) -> None:
        self.poller.close()
        self.poller = _Watched()
        super().run()


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """``/sleep/SECONDS``, ``/broken`` (ends early), ``/exit``, ``/unread`` and ``/served``; others echo the body."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    served[query] += 1
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
    if path == "/exit":
        raise SystemExit(1)
    if path == "/served":
        body = repr((len(served), max(served.values()))).encode()
        served.clear()
    else:
        body = query.encode() + b" " + (b"" if path == "/unread" else environ["wsgi.input"].read())
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return _broken() if path == "/broken" else [body]


def _broken() -> Iterator[bytes]:
    yield b"a"
    raise ZeroDivisionError
