"""A real HTTP server on the loopback that alerts are sent to, with behaviours that tests choose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """A received request: its path, its headers in lower case, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A server that responds to each POST with ``status``, or with the result of the function ``status``."""

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self.status: int | Callable[[Received], int] = 200
        self.headers: dict[str, str] = {}
        self.go_on = threading.Event()
        self.before_response: Callable[[], object] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                receiver.received.append(request)
                receiver.before_response()
                status = receiver.status
                self.send_response(status if isinstance(status, int) else status(request))
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Ignore the error: a test may be about a sender that closes the connection."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def paths(self) -> list[str]:
        """The paths of the received requests, in order."""
        return [request.path for request in self.received]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON bodies of the received requests, in order."""
        return [json.loads(request.body) for request in self.received]

    @property
    def ids(self) -> list[str]:
        """The idempotency keys of the received webhooks, in order."""
        return [request.headers["webhook-id"] for request in self.received]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
