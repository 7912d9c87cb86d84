"""The stock worker and the fast one answer and log a request that gunicorn cannot read, without quoting the request."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.factories import PATIENCE, wait_until
from tests.fast_path.echo import Gunicorn, everything

SECRET = "hush-hush"
QUERY = f"/?client_secret={SECRET}"
UNREADABLE = {
    f"GET {QUERY}\r\n\r\n": ("400 Bad Request", "invalid request line"),
    f"GET {QUERY}: HTTP/1.1 x\r\n\r\n": ("400 Bad Request", "invalid http version"),
    f"{SECRET} / HTTP/1.1\r\n\r\n": ("400 Bad Request", "invalid request method"),
    f"GET / HTTP/{SECRET}\r\n\r\n": ("400 Bad Request", "invalid http version"),
    f"GET {QUERY}{'x' * 9000} HTTP/1.1\r\n\r\n": ("414 URI Too Long", "limit request line"),
    f"GET / HTTP/1.1\r\nAuthorization Bearer {SECRET}\r\n\r\n": ("400 Bad Request", "invalid header"),
    f"GET / HTTP/1.1\r\nA {SECRET}: b\r\n\r\n": ("400 Bad Request", "invalid header name"),
    f"GET / HTTP/1.1\r\nA: b\r\n {SECRET}\r\n\r\n": ("400 Bad Request", "obsolete folding"),
    f"GET / HTTP/1.1\r\nCookie: {SECRET}{'x' * 9000}\r\n\r\n": (
        "431 Request Header Fields Too Large",
        "limit request headers",
    ),
    f"GET / HTTP/1.1\r\nTransfer-Encoding: {SECRET}\r\n\r\n": (
        "501 Not Implemented",
        "unsupported transfer coding",
    ),
    f"GET / HTTP/1.1\r\nHost: x\r\nExpect: {SECRET}\r\n\r\n": ("417 Expectation Failed", "expectation failed"),
}
"""The status and the kind of the error, by request."""

CONFIGURATION = """
from agentidp.http.logs import build_logging_config
logconfig_dict = build_logging_config("DEBUG", "json")
"""


def response_to(client: socket.socket, request: str) -> bytes:
    """Send a request, and return everything that the server sends."""
    with client:
        client.sendall(request.encode())
        return everything(client)


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["agentidp.http.worker.Worker", "agentidp.fast_path.worker.PollingWorker"])
def test_an_unreadable_request_is_answered_and_logged_by_its_kind(worker: str, tmp_path: Path) -> None:
    configuration, path = tmp_path / "gunicorn.conf.py", tmp_path / "socket"
    configuration.write_text(CONFIGURATION)
    with Gunicorn("--config", str(configuration), "--bind", f"unix:{path}", worker=worker) as server:
        for request, (status, kind) in UNREADABLE.items():
            body = {"code": "VALIDATION_ERROR", "message": f"The request cannot be read: {kind}.", "details": {}}
            head, _, content = response_to(server.connect(), request).partition(b"\r\n\r\n")
            assert (head.partition(b"\r\n")[0].decode(), json.loads(content)) == (f"HTTP/1.1 {status}", body), request
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(PATIENCE)
        local.connect(str(path))
        assert b"invalid request line" in response_to(local, f"GET {QUERY}\r\n\r\n")
        # The client leaves in the middle of a request.
        with server.connect() as client:
            client.sendall(f"GET {QUERY}".encode())
        wait_until(lambda: "Ignored premature client disconnection" in server.log)
        logged = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        unreadable: list[dict[str, Any]] = [line for line in logged if line["message"] == "unreadable request"]
        assert [(line["level"], line["error"], line["address"]) for line in unreadable] == [
            *(("WARNING", kind, "127.0.0.1") for _, kind in UNREADABLE.values()),
            # The peer of a UNIX socket has no address.
            ("WARNING", "invalid request line", None),
        ]
        assert SECRET not in server.log
