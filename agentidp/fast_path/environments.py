"""The WSGI environments of the requests of one connection, which share what does not differ between them.

It replaces ``gunicorn.http.wsgi.create``, which makes all of it for each request, and a token takes 10 to 18 % more of
Python without it. Requests over a UNIX socket gain nothing, because each ``Host`` names the server there. There is no
``wsgi.early_hints``, by which an application could send responses with the status 103.
tests/fast_path/test_environments.py compares it with gunicorn.
"""

from __future__ import annotations

from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi

_CGI = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}
"""The headers whose names have no ``HTTP_`` before them."""

_OWN = frozenset(("REQUEST_METHOD", "QUERY_STRING", "RAW_URI", "PATH_INFO", "wsgi.input", *_CGI.values()))
"""What each request has of its own, beside its headers."""


def create(request: Any, connection: Any, cfg: Config) -> tuple[wsgi.Response, dict[str, Any]]:
    """The response to a request, still empty, and the request's environment.

    ``connection.shared`` keeps what its requests share. Requests in which a header comes twice or decides more than its
    own value are left to gunicorn.
    """
    shared, headers = connection.shared, request.headers
    names = {name for name, _ in headers}
    is_plain = len(names) == len(headers) and "SCRIPT_NAME" not in names and not request._expected_100_continue
    if not is_plain or shared is None or shared["agentidp.kind"] != (request.version, request.scheme):
        return _by_gunicorn(request, connection, cfg, keep=is_plain)
    path = request.path
    environ = {
        **shared,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "PATH_INFO": util.unquote_to_wsgi_str(path) if "%" in path else path,
        "wsgi.input": request.body,
    }
    for name, value in headers:
        environ[_CGI[name] if name in _CGI else "HTTP_" + name.replace("-", "_")] = value
    return wsgi.Response(request, connection.sock, cfg), environ


def _by_gunicorn(request: Any, connection: Any, cfg: Config, *, keep: bool) -> tuple[wsgi.Response, dict[str, Any]]:
    response, environ = wsgi.create(request, connection.sock, connection.client, connection.server, cfg)
    del environ["wsgi.early_hints"]
    environ["wsgi.multithread"] = True
    # Not if the application is mounted below a path, which each path would have to lose.
    if keep and not isinstance(connection.server, str) and not environ["SCRIPT_NAME"]:
        shared = {name: value for name, value in environ.items() if not name.startswith("HTTP_") and name not in _OWN}
        connection.shared = shared | {"agentidp.kind": (request.version, request.scheme)}
    return response, environ
