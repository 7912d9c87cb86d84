"""A response is sent as Werkzeug would send it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from flask import Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

from agentidp.fast_path.application import send_response

HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "Vary": "Accept"}
BODIES = {
    "whole": lambda: b'{"a":1}',
    "text": lambda: "ä",
    "none": lambda: None,
    "parts": lambda: [b"a", b"b"],
    "generated": lambda: (part for part in (b"a", b"b")),
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", [200, 201, 204, 304, 404])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("is_watched", [False, True])
def test_it_is_sent_as_werkzeug_does(method: str, status: int, body: str, is_watched: bool) -> None:
    environ = EnvironBuilder("/", method=method).get_environ()
    further = {"Location": "/api/v1/agents/1"} if status == 201 else {}
    results: list[Any] = []
    for is_fast in (False, True):
        closed: list[str] = []
        response = Response(BODIES[body](), status, HEADERS | further)
        response.headers.add("X-Request-Id", "1")
        if is_watched:
            response.call_on_close(lambda closed=closed: closed.append("closed"))
        application = functools.partial(send_response, response) if is_fast else response
        parts, status_line, headers = run_wsgi_app(application, environ, buffered=True)
        results.append((b"".join(parts), status_line, [*headers]))
        assert closed == ["closed"] * is_watched
    assert results[0] == results[1]
