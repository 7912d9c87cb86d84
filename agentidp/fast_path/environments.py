"""Creates WSGI environments from a dictionary that all requests of a connection share.

This replaces ``gunicorn.http.wsgi.create``, which creates the whole environment for each request. Only
``wsgi.early_hints`` is missing here. tests/fast_path/test_environments.py compares the environments with gunicorn's.
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
"""Variables of the WSGI environment that differ between the requests of a connection, in addition to the headers."""


def create_environment(request: Any, connection: Any, cfg: Config) -> tuple[wsgi.Response, dict[str, Any]]:
    """Return an empty response to a request, and the request's WSGI environment.

    gunicorn still creates the environment for the first request of a connection, and for a request with a repeated
    header, ``SCRIPT_NAME`` or ``Expect: 100-continue``.
    """
    shared_environ, headers = connection.shared_environ, request.headers
    header_names = {header_name for header_name, _ in headers}
    has_plain_headers = (
        len(header_names) == len(headers) and "SCRIPT_NAME" not in header_names and not request._expected_100_continue
    )
    if (
        not has_plain_headers
        or shared_environ is None
        or shared_environ["agentidp.kind"] != (request.version, request.scheme)
    ):
        return _create_environment_by_gunicorn(request, connection, cfg, can_share=has_plain_headers)
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


def _create_environment_by_gunicorn(
    request: Any, connection: Any, cfg: Config, *, can_share: bool
) -> tuple[wsgi.Response, dict[str, Any]]:
    response, environ = wsgi.create(request, connection.sock, connection.client, connection.server, cfg)
    del environ["wsgi.early_hints"]
    environ["wsgi.multithread"] = True
    # If SCRIPT_NAME is set, gunicorn must remove it from the path of each request, so the connection's requests cannot
    # share variables.
    if can_share and not isinstance(connection.server, str) and not environ["SCRIPT_NAME"]:
        connection.shared_environ = {
            name: value for name, value in environ.items() if not name.startswith("HTTP_") and name not in _PER_REQUEST
        } | {"agentidp.kind": (request.version, request.scheme)}
    return response, environ
