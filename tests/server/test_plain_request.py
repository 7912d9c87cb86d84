"""A plain request is read as gunicorn reads it, and whatever is not plain is left to gunicorn."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.http.unreader import IterUnreader

from agentidp.server.messages import Request, create
from agentidp.server.plain_request import plain_request

GET = b"GET /api/v1/analytics/tokens?days=30&x=a%20b HTTP/1.1\r\nHost: localhost:3000\r\nAccept: */*\r\n\r\n"
POST = (
    b"POST /api/v1/token HTTP/1.1\r\nHost: localhost\r\n"
    b"Authorization: Basic YTpi\r\nUser-Agent: a client (1.0; x: y)\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\ngrant_type=client_credentials"
)

PLAIN = {
    "a query": GET,
    "a form": POST,
    "a request behind it": POST + GET,
    "a part of the next": GET + b"GET /",
    "kept alive": GET.replace(b"Accept: */*", b"Connection: keep-alive"),
    "closed": GET.replace(b"Accept: */*", b"connection: Close"),
    "an empty query": GET.replace(b"?days=30&x=a%20b", b"?"),
    "no query": GET.replace(b"?days=30&x=a%20b", b""),
    "a body of no length": POST.replace(b"29\r\n\r\ngrant_type=client_credentials", b"0\r\n\r\n"),
    "zeros before a length": POST.replace(b"29", b"00029"),
    "a body of GET": GET.replace(b"Accept: */*", b"Content-Length: 3") + b"abc",
    "an upgrade": GET.replace(b"Accept: */*", b"Upgrade: websocket"),
    "no host": GET.replace(b"Host", b"Hosts"),
    "other methods": POST.replace(b"POST", b"PATCH"),
}

OTHERS = {
    "nothing": b"",
    "half a head": GET[:40],
    "half a body": POST[:-4],
    "two lengths": POST.replace(b"User-Agent: a client (1.0; x: y)", b"Content-Length: 29"),
    "two different lengths": POST.replace(b"User-Agent: a client (1.0; x: y)", b"content-length: 3"),
    "a length with a sign": POST.replace(b"29", b"+29"),
    "a negative length": POST.replace(b"29", b"-29"),
    "a length with a blank": POST.replace(b"29", b"2 9"),
    "two lengths in one": POST.replace(b"29", b"29, 29"),
    "a hexadecimal length": POST.replace(b"29", b"0x1d"),
    "a length with an underscore": POST.replace(b"29", b"2_9"),
    "a length in other digits": POST.replace(b"29", "²".encode("latin-1")),
    "a long length": POST.replace(b"29", b"9" * 30),
    "an empty length": POST.replace(b" 29", b""),
    "chunks": GET.replace(b"Accept: */*", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
    "chunks in capitals": GET.replace(b"Accept: */*", b"TRANSFER-ENCODING: CHUNKED") + b"0\r\n\r\n",
    "chunks and a length": POST.replace(b"User-Agent", b"Transfer-Encoding").replace(
        b"a client (1.0; x: y)", b"chunked"
    ),
    "an unknown coding": GET.replace(b"Accept: */*", b"Transfer-Encoding: xchunked"),
    "a hidden coding": GET.replace(b"Accept: */*", b"Transfer-Encoding : chunked"),
    "a tab before a coding": GET.replace(b"Accept: */*", b"Transfer-Encoding:\tchunked"),
    "an underscore in a coding": GET.replace(b"Accept: */*", b"Transfer_Encoding: chunked"),
    "a folded coding": GET.replace(b"Accept: */*", b"Transfer-Encoding:\r\n chunked"),
    "a carriage return in a coding": GET.replace(b"Accept: */*", b"Accept: a\rTransfer-Encoding: chunked"),
    "a line feed in a value": GET.replace(b"Accept: */*", b"Accept: a\nTransfer-Encoding: chunked"),
    "a NUL in a value": GET.replace(b"*/*", b"a\0b"),
    "a NUL in a name": GET.replace(b"Accept", b"Acc\0ept"),
    "other bytes in a value": GET.replace(b"*/*", b"\xe4"),
    "other bytes in a name": GET.replace(b"Accept", b"\xdf"),
    "a dotless i in a name": GET.replace(b"Accept", "\u0131".encode()),
    "an expectation": POST.replace(b"User-Agent: a client (1.0; x: y)", b"Expect: 100-continue"),
    "another expectation": POST.replace(b"User-Agent: a client (1.0; x: y)", b"Expect: x"),
    "two hosts": GET.replace(b"Accept: */*", b"host: another"),
    "a header twice": GET.replace(b"Accept: */*", b"X-A: 1\r\nx-a: 2"),
    "a forwarded scheme": GET.replace(b"Accept: */*", b"X-Forwarded-Proto: https"),
    "another scheme": GET.replace(b"Accept: */*", b"X-Forwarded-Ssl: on"),
    "an underscore in a name": GET.replace(b"Accept", b"Content_Length"),
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "no name": GET.replace(b"Accept", b""),
    "no colon": GET.replace(b"Accept: */*", b"Accept"),
    "no blank after the colon": GET.replace(b"Accept: */*", b"Accept:*/*"),
    "two blanks after the colon": GET.replace(b"Accept: ", b"Accept:  "),
    "a blank after the value": GET.replace(b"*/*", b"*/* "),
    "an empty value": GET.replace(b"*/*", b""),
    "a folded value": GET.replace(b"*/*", b"a\r\n b"),
    "line feeds alone": GET.replace(b"\r\n", b"\n"),
    "a line feed at the end of the head": GET.replace(b"\r\n\r\n", b"\r\n\n"),
    "an empty line before": b"\r\n" + GET,
    "HTTP/1.0": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.2": GET.replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2.0": GET.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "no version": GET.replace(b" HTTP/1.1", b""),
    "a version in small letters": GET.replace(b"HTTP/1.1", b"http/1.1"),
    "two blanks in the line": GET.replace(b"GET ", b"GET  "),
    "a tab in the line": GET.replace(b"GET ", b"GET\t"),
    "a small method": GET.replace(b"GET", b"get"),
    "an unknown method": GET.replace(b"GET", b"BREW"),
    "CONNECT": GET.replace(b"GET", b"CONNECT"),
    "an asterisk": GET.replace(b"/api/v1/analytics/tokens?days=30&x=a%20b", b"*"),
    "two slashes": GET.replace(b"/api", b"//api"),
    "a whole address": GET.replace(b"/api", b"http://another/api"),
    "a fragment": GET.replace(b"?days", b"#a?days"),
    "a fragment of a query": GET.replace(b"=30", b"=30#a"),
    "a second question mark": GET.replace(b"=30", b"=30?"),
    "brackets": GET.replace(b"/api", b"/[api"),
    "a control character in the path": GET.replace(b"/api", b"/\x01api"),
    "other bytes in the path": GET.replace(b"/api", b"/\xe4api"),
    "a long line": GET.replace(b"/api", b"/" + b"a" * 5000),
    "a long field": GET.replace(b"*/*", b"a" * 9000),
    "a long head": GET.replace(b"Accept: */*", b"\r\n".join(b"X-%d: %d" % (i, 10**40) for i in range(90))),
    "many fields": GET.replace(b"Accept: */*", b"\r\n".join(b"X-%d: a" % i for i in range(200))),
}


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "trusted": {"forwarded_allow_ips": "*"},
    "small": {"limit_request_line": 60, "limit_request_fields": 2, "limit_request_field_size": 40},
    "unlimited": {"limit_request_line": 0, "limit_request_field_size": 0},
    "lenient": {"permit_obsolete_folding": True, "strip_header_spaces": True, "header_map": "dangerous"},
}


@cache
def config(settings: str) -> Config:
    """gunicorn's configuration with some of SETTINGS."""
    cfg = Config()
    for name, value in SETTINGS[settings].items():
        cfg.set(name, value)
    return cfg


def outcome(kind: type[message.Request], parts: list[bytes], settings: str = "default") -> tuple[bool, Any]:
    """Whether the request was plain, and all that follows from it: what was read, and what is left; or the error."""
    unreader = IterUnreader(parts)
    request = None
    try:
        request = kind(config(settings), unreader, ("10.0.0.1", 1234))
        is_plain = not hasattr(request.body, "reader")
        found = [
            (request.method, request.uri, request.path, request.query, request.fragment, request.version),
            (request.headers, request.scheme, request.should_close(), request._expected_100_continue),
            request.body.read(),
            request.trailers,
        ]
        rest = b"".join(iter(unreader.read, b""))
    except (Exception, StopIteration) as error:
        return False, (type(error), str(error))
    return is_plain, (*found, rest)


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_reads_each_request_as_gunicorn(settings: str) -> None:
    for name, received in {**PLAIN, **OTHERS}.items():
        # All at once, in two parts, and byte by byte.
        for parts in ([received], [received[:30], received[30:]], [received[i : i + 1] for i in range(len(received))]):
            is_plain, ours = outcome(Request, parts, settings)
            _, gunicorns = outcome(message.Request, parts, settings)
            assert ours == gunicorns, (name, len(parts))
            assert not (is_plain and name in OTHERS), name


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain(name: str) -> None:
    assert outcome(Request, [PLAIN[name]])[0]
    assert not outcome(Request, [PLAIN[name]], "small")[0]


def test_it_reads_damaged_requests_as_gunicorn() -> None:
    """Bytes are replaced, removed, doubled and moved, which gives some thousand requests that hardly anybody sends."""
    chance = random.Random(20_261_126)
    pieces = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b": ",
        b"\0",
        b"\xdf",
        b"_",
        b"\r\n ",
        b"%0d%0a",
        b"#",
        b"?",
        b"//",
    ]
    pieces += [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Host: b\r\n", b"content-length:1\r\n"]
    plain = 0
    requests = [*PLAIN.values()] * 10 + [*OTHERS.values()]
    for _ in range(10_000):
        damaged = bytearray(chance.choice(requests)[:600])
        for _ in range(chance.randint(1, 3)):
            at = chance.randint(0, len(damaged))
            removed = chance.choice((0, 0, 1, 1, 2, 12))
            piece = chance.choice((chance.choice(pieces), damaged[at : at + 20], bytes([chance.randrange(256)]), b""))
            damaged[at : at + removed] = piece
        received = bytes(damaged)
        is_plain, ours = outcome(Request, [received])
        assert ours == outcome(message.Request, [received])[1], received
        plain += is_plain
    assert 1000 < plain < 9000


def environments(
    requests: list[bytes], server: Any = ("127.0.0.1", 3000)
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Of each request on one connection our environment and gunicorn's."""
    connection = SimpleNamespace(client=("10.0.0.1", 1234), server=server, sock=None, shared=None)
    for received in requests:
        request = Request(config("default"), IterUnreader([received]), connection.client)
        _, ours = create(request, connection, config("default"))
        _, gunicorns = wsgi.create(request, None, connection.client, server, config("default"))
        del gunicorns["wsgi.early_hints"]
        yield ours, gunicorns | {"wsgi.multithread": True, "wsgi.errors": ours["wsgi.errors"]}


OTHER_ENVIRONMENTS = [
    GET.replace(b"/api", b"/%C3%A4%0a"),
    GET.replace(b"localhost:3000", b"another:80"),
    GET.replace(b"Accept", b"User-Agent-"),
    OTHERS["a header twice"],
    OTHERS["chunks"],
    OTHERS["HTTP/1.0"],
]


@pytest.mark.parametrize("server", [("127.0.0.1", 3000), ("::1", 3000, 0, 0), "/run/agentidp.sock"])
def test_its_environment_is_the_one_that_gunicorn_makes(server: Any) -> None:
    """Also of one that is not plain, and of what follows that."""
    requests = [*PLAIN.values(), *OTHER_ENVIRONMENTS]
    for first in (GET, POST, OTHERS["HTTP/1.0"]):
        for second in requests:
            for ours, gunicorns in environments([first, second, GET], server):
                assert ours == gunicorns, (first, second)


def test_its_environment_knows_where_the_application_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/api")
    for ours, gunicorns in environments([GET, GET]):
        assert ours == gunicorns
        assert (ours["SCRIPT_NAME"], ours["PATH_INFO"]) == ("/api", "/v1/analytics/tokens")


def test_what_a_plain_requests_connection_shares_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(*given: Any) -> dict[str, Any]:
        made.append(1)
        return dict(original(*given))

    original = wsgi.default_environ
    monkeypatch.setattr(wsgi, "default_environ", counted)
    connection = SimpleNamespace(client=("10.0.0.1", 1234), server=("127.0.0.1", 3000), sock=None, shared=None)
    for _ in range(3):
        create(Request(config("default"), IterUnreader([GET]), connection.client), connection, config("default"))
    assert made == [1]


def test_errors_are_written_to_the_streams_that_the_log_has_then(capsys: pytest.CaptureFixture[str]) -> None:
    [(environ, _)] = environments([GET])
    with contextlib.redirect_stderr(io.StringIO()) as later:
        environ["wsgi.errors"].write("wrong")
    assert (later.getvalue(), capsys.readouterr().err) == ("wrong", "")


def test_a_special_header_makes_a_request_not_plain() -> None:
    assert plain_request(GET, maximum=1000, special=())
    assert plain_request(GET, maximum=1000, special=("ACCEPT",)) is None


def test_the_head_may_have_the_maximum_of_bytes() -> None:
    assert plain_request(GET, maximum=len(GET), special=())
    assert plain_request(GET, maximum=len(GET) - 1, special=()) is None
