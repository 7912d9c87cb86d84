"""A whole response is sent as Werkzeug sends one."""

from __future__ import annotations

import pytest
from flask import Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

from agentidp.http.responses import WholeResponse

HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "Vary": "Accept"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", [200, 201, 204, 304, 404])
def test_it_is_sent_as_werkzeug_does(method: str, status: int) -> None:
    environ = EnvironBuilder("/", method=method).get_environ()
    further = {"Location": "/api/v1/agents/1"} if status == 201 else {}
    sent = []
    for response in (
        WholeResponse(b'{"a":1}', HEADERS | further, status),
        Response([b'{"a":1}'], status, [*HEADERS.items(), *further.items(), ("Content-Length", "7")]),
    ):
        response.headers.add("X-Request-Id", "1")
        body, line, headers = run_wsgi_app(response, environ)
        sent.append((b"".join(body), line, [*headers]))
    assert sent[0] == sent[1]


def test_no_header_can_have_a_line_break() -> None:
    with pytest.raises(ValueError, match="newline"):
        WholeResponse(b"", {"X-A": "a\r\nX-B: b"})
