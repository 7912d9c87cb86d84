"""The environment of a request equals gunicorn's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.http.unreader import IterUnreader

from agentidp.fast_path.environments import create_environment

GET = b"GET /api/v1/analytics/tokens?days=30&x=a%20b HTTP/1.1\r\nHost: localhost:3000\r\nAccept: */*\r\n\r\n"
POST = (
    b"POST /api/v1/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\ngrant_type=client_credentials"
)
REQUESTS = {
    "a query": GET,
    "a form": POST,
    "no query": GET.replace(b"?days=30&x=a%20b", b""),
    "an encoded path": GET.replace(b"/api", b"/%C3%A4%0a"),
    "a body of GET": GET.replace(b"Accept: */*", b"Content-Length: 3") + b"abc",
    "closed": GET.replace(b"Accept: */*", b"Connection: close"),
    "another host": GET.replace(b"localhost:3000", b"another:80"),
    "no host": GET.replace(b"Host", b"Hosts"),
    "a name that ends with a dash": GET.replace(b"Accept", b"User-Agent-"),
    "a header twice": GET.replace(b"Accept: */*", b"X-A: 1\r\nx-a: 2"),
    "chunks": GET.replace(b"Accept: */*", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
    "an expectation": POST.replace(b"Authorization: Basic YTpi", b"Expect: 100-continue"),
    "HTTP/1.0": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a scheme": GET.replace(b"Accept: */*", b"X-Forwarded-Proto: https"),
    "a mount point": GET.replace(b"Accept: */*", b"SCRIPT_NAME: /api"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ours": {"forwarded_allow_ips": "*", "forwarder_headers": "", "secure_scheme_headers": {}},
    "a proxy that decides": {"forwarded_allow_ips": "*", "forwarder_headers": "SCRIPT_NAME"},
}


class Socket:
    """Records what gunicorn sends to a client that expects a 100."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data


@cache
def config(settings: str) -> Config:
    """Return gunicorn's configuration with an entry of SETTINGS."""
    cfg = Config()
    for name, value in SETTINGS[settings].items():
        cfg.set(name, value)
    return cfg


def environments(requests: list[bytes], server: Any, settings: str) -> Iterator[tuple[Any, Any]]:
    """Yield our environment and gunicorn's for each request on one connection."""
    cfg, sockets = config(settings), (Socket(), Socket())
    connection = SimpleNamespace(client=("10.0.0.1", 1234), server=server, sock=sockets[0], shared_environ=None)
    for received in requests:
        read = [message.Request(cfg, IterUnreader([received]), connection.client) for _ in range(2)]
        response, ours = create_environment(read[0], connection, cfg)
        assert type(response) is wsgi.Response
        _, gunicorns = wsgi.create(read[1], sockets[1], connection.client, server, cfg)
        bodies = ours.pop("wsgi.input").read(), gunicorns.pop("wsgi.input").read()
        del gunicorns["wsgi.early_hints"], ours["wsgi.errors"], gunicorns["wsgi.errors"]
        ours.pop("agentidp.kind", None)
        assert ours.pop("gunicorn.socket") is sockets[0]
        gunicorns |= {"wsgi.multithread": True}
        del gunicorns["gunicorn.socket"]
        yield (ours, bodies[0], sockets[0].sent), (gunicorns, bodies[1], sockets[1].sent)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("server", [("127.0.0.1", 3000), ("::1", 3000, 0, 0), "/run/agentidp.sock"])
def test_it_is_the_one_that_gunicorn_makes(server: Any, settings: str) -> None:
    for first in REQUESTS.values():
        for second in REQUESTS.values():
            for ours, gunicorns in environments([first, second, GET], server, settings):
                assert ours == gunicorns, (first, second)


def test_it_knows_where_the_application_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/api")
    for ours, gunicorns in environments([GET, GET], ("127.0.0.1", 3000), "ours"):
        assert ours == gunicorns
        assert (ours[0]["SCRIPT_NAME"], ours[0]["PATH_INFO"]) == ("/api", "/v1/analytics/tokens")
