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
    """A request: its path, its headers in lower case, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers each POST with a status. ``status`` is it, or decides it by what was received."""

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
                """The sender may have given up, which is what the test is about."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def paths(self) -> list[str]:
        """The paths of what was received, in order."""
        return [request.path for request in self.received]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON that was received, in order."""
        return [json.loads(request.body) for request in self.received]

    @property
    def ids(self) -> list[str]:
        """The idempotency keys of the webhooks that were received, in order."""
        return [request.headers["webhook-id"] for request in self.received]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
