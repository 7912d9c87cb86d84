"""An issuer that publishes its metadata and keys over https, on the loopback, with a certificate of its own."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deploy.deployment import make_certificate
from tests.federation.issuer import Issuer

DISCOVERY = "/.well-known/openid-configuration"


class HttpsIssuer:
    """An issuer that publishes ``pages`` over https: a status, headers and a body, or a function that returns them.

    ``requests`` are the requested paths, in order.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"https://localhost:{port}"
        self.requests: list[str] = []
        self.pages: dict[str, Any] = {}
        self.keys = Issuer.with_curve(self.url)
        self.publish()

    def publish(self, *jwks: dict[str, Any], cache_control: str | None = None, path: str = "") -> None:
        """Publish the metadata, and these keys or the issuer's own.

        :param path: the path of an issuer whose address has one.
        """
        issuer = self.url + path
        headers = {} if cache_control is None else {"Cache-Control": cache_control}
        self.json(path.rstrip("/") + DISCOVERY, {"issuer": issuer, "jwks_uri": f"{self.url}/keys"})
        self.json("/keys", {"keys": list(jwks) or [self.keys.jwk()]}, headers=headers)

    def json(self, path: str, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Respond with JSON at an address."""
        self.pages[path] = status, {"Content-Type": "application/json"} | (headers or {}), json.dumps(body).encode()


@contextmanager
def https_server(directory: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run a server in the block, and return its port. Its certificate is in ``tls.crt`` in *directory*."""
    make_certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Ignore the error: a client that does not trust the certificate ends the handshake."""

        def get_request(self) -> Any:
            connection, address = super().get_request()
            # The handshake runs in the thread of the request, so that no request waits for the handshake of another.
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def https_issuer(directory: Path) -> Iterator[HttpsIssuer]:
    """Run an issuer in the block. Its certificate is in ``tls.crt`` in *directory*."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.requests.append(self.path)
            page: Any = running.pages.get(self.path, (404, {}, b""))
            if callable(page):
                make: Callable[[], Any] = page
                page = make()
            status, headers, body = page
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                # The client closed the connection, because it has read enough.
                return

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with https_server(directory, Handler) as port:
        running = HttpsIssuer(port)
        yield running
