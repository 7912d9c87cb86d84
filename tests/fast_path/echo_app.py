"""A WSGI application that echoes requests. It imports little, so that a worker starts soon."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

LARGE = 50_000_000
"""Bytes of a response that no buffer takes."""

served: Counter[str] = Counter()


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Respond to ``/sleep/SECONDS``, ``/broken`` (ends early), ``/exit``, ``/unread``, ``/served``, ``/large`` and
    ``/savings`` (whether the worker caches settings and environments). Other paths echo the body.
    """
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    served[query] += 1
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
    if path == "/exit":
        raise SystemExit(1)
    if path == "/served":
        body = repr((len(served), max(served.values()))).encode()
        served.clear()
    elif path == "/large":
        body = b"a" * LARGE
    elif path == "/savings":
        cfg = start.__self__.cfg  # type: ignore[attr-defined]
        body = f"shares: {'agentidp.kind' in environ}, keeps settings: {'keepalive' in vars(cfg)}".encode()
    else:
        body = query.encode() + b" " + (b"" if path == "/unread" else environ["wsgi.input"].read())
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return _broken() if path == "/broken" else [body]


def _broken() -> Iterator[bytes]:
    yield b"a"
    raise ZeroDivisionError
