"""gunicorn's requests and responses, without what costs more than it gives here.

- gunicorn reads a request line by line. Here a plain one is read at once (``agentidp/server/plain_request.py``).
- It looks for what is left of a request before it reads the next one. Of a plain request nothing is left.
- It checks each header of a response by itself. Here the names that the service often sends are known, and all values
  are checked together.
- It sends the head of a response, and then the body. Here they are sent together.
- It makes a whole WSGI environment for each request. Here what those of a connection share is made once.

These are private parts of gunicorn, as those that ``agentidp/server/worker.py`` uses: see there.
"""

from __future__ import annotations

import functools
import io
import time
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import message, wsgi

from agentidp.server.plain_request import plain_request

PLAIN_HEADERS = frozenset(
    (
        "Cache-Control",
        "Content-Length",
        "Content-Type",
        "ETag",
        "Pragma",
        "Vary",
        "X-Content-Type-Options",
        "X-Request-Id",
    )
)
"""Names of response headers of which gunicorn need not look at each: they do not concern one connection."""


_CGI = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}
"""The headers whose names have no ``HTTP_`` before them in a WSGI environment."""


class Request(message.Request):
    """A request that is read at once if it is plain."""

    body: Any

    def _parse_python(self, unreader: Any, buf: bytearray) -> bytes:
        """Read a head, of which *buf* is the beginning; returns what was read beyond it."""
        plain = plain_request(
            bytes(buf),
            maximum=min(self.limit_request_line, self.limit_request_field_size),
            special=self.cfg.secure_scheme_headers,
        )
        if plain is None or len(plain[4]) > self.limit_request_fields:
            return bytes(super()._parse_python(unreader, buf))
        self.method, self.uri, self.path, self.query, self.headers, body, end = plain
        self.fragment, self.version, self.body = "", (1, 1), io.BytesIO(body)
        return bytes(buf[end:])

    def set_body_reader(self) -> None:
        """Decide how the body is read, unless that is done."""
        if self.body is None:
            super().set_body_reader()


class Response(wsgi.Response):
    """A response that is sent in one piece if the application gives its body in one."""

    headers_sent: bool

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Check and keep the application's headers."""
        named, values = dict(headers), "".join([value for _, value in headers])
        length = named.get("Content-Length", "0")
        if not (PLAIN_HEADERS.issuperset(named) and length.isdecimal() and wsgi.HEADER_VALUE_RE.fullmatch(values)):
            super().process_headers(headers)
            return
        self.headers += headers
        if "Content-Length" in named:
            self.response_length = int(length)

    def write(self, arg: bytes) -> None:
        """Send a part of the body, the head before the first."""
        if self.headers_sent or self._omits_body or len(arg) != self.response_length:
            super().write(arg)
            return
        lines = [f"{name}: {value}\r\n" for name, value in self.headers]
        head = "".join([*self.default_headers(), *lines, "\r\n"])
        self.headers_sent = True
        self.sent = len(arg)
        self.sock.sendall(head.encode("latin-1") + arg)

    def default_headers(self) -> list[str]:
        """The first lines."""
        if self.upgrade or self.chunked:
            return list(super().default_headers())
        major, minor = self.req.version
        date = _http_date(int(time.time()))
        connection = "close" if self.should_close() else "keep-alive"
        return [
            f"HTTP/{major}.{minor} {self.status}\r\n"
            f"Server: {self.version}\r\nDate: {date}\r\nConnection: {connection}\r\n"
        ]


class Errors(wsgi.WSGIErrorsWrapper):
    """gunicorn's ``wsgi.errors``, which here looks for the log's streams when something is written to them."""

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg

    def write(self, data: str) -> None:
        """Write to all streams of the log."""
        super().__init__(self._cfg)
        super().write(data)


def create(request: Any, connection: Any, cfg: Config) -> tuple[Response, dict[str, Any]]:
    """The response to a request, still empty, and the request's WSGI environment.

    ``connection.shared`` keeps what does not differ between a connection's plain requests. There is no
    ``wsgi.early_hints``, by which an application could send responses with the status 103.
    """
    shared = connection.shared
    if shared is None or not isinstance(request.body, io.BytesIO):
        return _by_gunicorn(request, connection, cfg)
    path = request.path
    environ = {
        **shared,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "PATH_INFO": util.unquote_to_wsgi_str(path) if "%" in path else path,
        "wsgi.input": request.body,
    }
    for name, value in request.headers:
        environ[_CGI[name] if name in _CGI else "HTTP_" + name.replace("-", "_")] = value
    return Response(request, connection.sock, cfg), environ


def _by_gunicorn(request: Any, connection: Any, cfg: Config) -> tuple[Response, dict[str, Any]]:
    client, server = connection.client, connection.server
    response, environ = wsgi.create(request, connection.sock, client, server, cfg, Response)
    environ["wsgi.multithread"], environ["wsgi.errors"] = True, Errors(cfg)
    del environ["wsgi.early_hints"]
    # A UNIX socket's server is named by each request's Host, and SCRIPT_NAME is no part of a path.
    if isinstance(request.body, io.BytesIO) and not isinstance(server, str) and not environ["SCRIPT_NAME"]:
        own = {"REQUEST_METHOD", "QUERY_STRING", "RAW_URI", "PATH_INFO", "wsgi.input", *_CGI.values()}
        connection.shared = {k: v for k, v in environ.items() if not k.startswith("HTTP_") and k not in own}
    return response, environ


def is_read(body: Any) -> bool:
    """Whether nothing of a request's body is left on the connection."""
    return isinstance(body, io.BytesIO) or (
        getattr(body.reader, "length", None) == 0 and not body.buf.getbuffer().nbytes
    )


_http_date = functools.lru_cache(maxsize=2)(util.http_date)
