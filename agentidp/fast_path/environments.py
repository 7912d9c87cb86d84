"""Creates the WSGI environments of a connection's requests from a dictionary that these requests share.

This replaces ``gunicorn.http.wsgi.create``, which creates the whole environment for each request. The environments lack
``wsgi.early_hints``. tests/fast_path/test_environments.py compares the environments with gunicorn's.
"""

from __future__ import annotations

from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi

_NAMES_WITHOUT_PREFIX = {"CONTENT-TYPE": "CONTENT_TYPE", "CONTENT-LENGTH": "CONTENT_LENGTH"}
"""Headers whose names in the WSGI environment lack the prefix ``HTTP_``."""

_PER_REQUEST = frozenset(
    ("REQUEST_METHOD", "QUERY_STRING", "RAW_URI", "PATH_INFO", "wsgi.input", *_NAMES_WITHOUT_PREFIX.values())
)
"""Variables of the WSGI environment, besides the headers, that differ between the requests of a connection."""


def create_environment(request: Any, connection: Any, cfg: Config) -> tuple[wsgi.Response, dict[str, Any]]:
    """Return an empty response to a request, and the request's WSGI environment.

    gunicorn itself creates the whole environment of a connection's first request, and of requests with a repeated
    header or a header that affects other variables.
    """
    shared_environ, headers = connection.shared_environ, request.headers
    header_names = {header_name for header_name, _ in headers}
    # With plain headers, gunicorn need not join repeated ones, remove SCRIPT_NAME from the path, or send 100 Continue.
    has_plain_headers = (
        len(header_names) == len(headers) and "SCRIPT_NAME" not in header_names and not request._expected_100_continue
    )
    if (
        not has_plain_headers
        or shared_environ is None
        or shared_environ["agentidp.kind"] != (request.version, request.scheme)
    ):
        return _create_by_gunicorn(request, connection, cfg, can_share=has_plain_headers)
    path = request.path
    environ = {
        **shared_environ,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "PATH_INFO": util.unquote_to_wsgi_str(path) if "%" in path else path,
        "wsgi.input": request.body,
    }
    for header_name, header_value in headers:
        environ[_NAMES_WITHOUT_PREFIX.get(header_name) or "HTTP_" + header_name.replace("-", "_")] = header_value
    return wsgi.Response(request, connection.sock, cfg), environ


def _create_by_gunicorn(
    request: Any, connection: Any, cfg: Config, *, can_share: bool
) -> tuple[wsgi.Response, dict[str, Any]]:
    response, environ = wsgi.create(request, connection.sock, connection.client, connection.server, cfg)
    del environ["wsgi.early_hints"]
    environ["wsgi.multithread"] = True
    # Shares nothing if SCRIPT_NAME is set, because gunicorn must then remove it from the path of each request.
    if can_share and not isinstance(connection.server, str) and not environ["SCRIPT_NAME"]:
        connection.shared_environ = {
            name: value for name, value in environ.items() if not name.startswith("HTTP_") and name not in _PER_REQUEST
        } | {"agentidp.kind": (request.version, request.scheme)}
    return response, environ
