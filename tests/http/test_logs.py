"""Log lines: one JSON object per line with exactly its fields, without secrets and without injected lines."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import re
import socket
import sys
import urllib.parse
from contextlib import closing
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.http.logs import JsonFormatter, TextFormatter, build_logging_config
from tests.conftest import Cast
from tests.factories import PATIENCE, ROOT, SECRET_KEY, Agent, Server, wait_until
from tests.routes import ROUTES

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
FIELDS = ["at", "level", "message", "method", "path", "status", "ms", "request_id", "organization", "agent"]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the log records as the formatter writes them."""
    written = [JsonFormatter().format(record) for record in caplog.records if record.name == "agentidp"]
    assert not any("\n" in line or "\r" in line for line in written)
    return [json.loads(line) for line in written]


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    """Log at the same level as in production."""
    caplog.set_level(logging.INFO, "agentidp")


class TestRequestLine:
    def test_is_documented(self) -> None:
        guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
        [example] = re.findall(r'^{.*"message": "request".*}$', guide, re.MULTILINE)
        assert list(json.loads(example)) == FIELDS

    @pytest.mark.parametrize(
        ("method", "path", "status", "is_agents"),
        [
            ("GET", "/api/v1/analytics/tokens", 200, True),
            ("GET", "/healthz", 200, False),
            ("GET", "/nothing", 404, False),
            ("DELETE", "/api/v1/agents", 405, False),
            ("GET", "/api/v1/agents", 401, False),
            ("POST", "/api/v1/token", 400, False),
        ],
    )
    def test_has_these_fields(
        self,
        shared_client: FlaskClient,
        shared_cast: Cast,
        caplog: pytest.LogCaptureFixture,
        method: str,
        path: str,
        status: int,
        is_agents: bool,
    ) -> None:
        acme = shared_cast.acme
        headers = {"X-Request-Id": "chosen"} | (acme.bearer() if is_agents else {})
        assert shared_client.open(f"{path}?days=7", method=method, headers=headers).status_code == status
        [line] = lines(caplog)
        assert list(line) == FIELDS
        at, ms = line.pop("at"), line.pop("ms")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", at)
        assert isinstance(ms, float)
        assert 0 < ms < 10_000
        assert line == {
            "level": "INFO",
            "message": "request",
            "method": method,
            "path": path,
            "status": status,
            "request_id": "chosen",
            "organization": acme.organization_id if is_agents else None,
            "agent": acme.client_id if is_agents else None,
        }

    def test_of_a_token_names_the_agent_that_asked_for_it(
        self, shared_client: FlaskClient, shared_cast: Cast, caplog: pytest.LogCaptureFixture
    ) -> None:
        acme = shared_cast.acme
        for secret in (acme.client_secret, "wrong"):
            caplog.clear()
            shared_client.post("/api/v1/token", data=acme.form | {"client_secret": secret})
            # A refusal also has its own line.
            [line] = [line for line in lines(caplog) if line["message"] == "request"]
            assert (line["organization"], line["agent"]) == (acme.organization_id, acme.client_id)

    def test_is_left_out_above_info(self, shared_client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "agentidp")
        shared_client.get("/healthz")
        assert lines(caplog) == []


INJECTIONS = ["a\nb", "a\r\nb", '"}\n{"level":"ERROR', "\x1b[31m", "\u2028", "\x00", "\ud800", "é", "x" * 3000]


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_a_client_sends_breaks_a_line(
    shared_client: FlaskClient, shared_cast: Cast, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    quoted = urllib.parse.quote(text.encode("utf-8", "surrogatepass"))
    requests = [
        shared_client.get(f"/{quoted}"),
        shared_client.get(f"/api/v1/agents/{quoted}", headers=shared_cast.acme.bearer()),
        shared_client.open("/healthz", method="G" + re.sub(r"[^a-z]", "", text)),
        shared_client.post("/api/v1/agents", json={"name": text}, headers=shared_cast.acme.bearer()),
        shared_client.get("/healthz", headers={"X-Request-Id": re.sub(r"[\r\n\ud800\u2028]", "", text)}),
    ]
    written = [JsonFormatter().format(record) for record in caplog.records if record.name == "agentidp"]
    assert len(written) == len(requests)
    for line in written:
        assert re.fullmatch(r"[ -~]*", line)
        assert list(json.loads(line)) == FIELDS


class TestFormatter:
    """Lines that are not about requests."""

    def record(self, message: str, *arguments: Any, **options: Any) -> logging.LogRecord:
        exc_info = options.pop("exc_info", None)
        return logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, message, arguments, exc_info, **options)

    def test_what_is_said_stays_on_its_line_and_what_is_no_json_is_shown_all_the_same(self) -> None:
        record = self.record("first\nsecond %s", "third\r\nfourth", extra={"fields": {"set": {1}}})
        line = JsonFormatter().format(record)
        assert "\n" not in line
        fields = json.loads(line)
        assert (fields["message"], fields["set"]) == ("first\nsecond third\r\nfourth", "{1}")

    def test_a_traceback_gives_its_type_and_never_its_text(self) -> None:
        try:
            raise ValueError("hush-hush")
        except ValueError:
            line = JsonFormatter().format(self.record("failed", exc_info=sys.exc_info()))
        assert "hush" not in line
        assert json.loads(line)["error"] == "ValueError"

    @pytest.mark.parametrize(
        ("message", "logged"),
        [
            (
                "Ignored premature client disconnection. No more data after: b'GET /?token=hush'",
                "Ignored premature client disconnection",
            ),
            (
                "Error handling request GET /dashboard/sign-in?token=hush",
                "Error handling request GET /dashboard/sign-in",
            ),
            ("Error handling request /a?b\nhush", "Error handling request /a"),
            ("Error handling request (no URI read)", "Error handling request (no URI read)"),
            ("Booting worker with pid: 7", "Booting worker with pid: 7"),
        ],
    )
    def test_of_what_gunicorn_quotes_of_a_request_no_more_is_kept_than_what_was_wrong(
        self, message: str, logged: str
    ) -> None:
        record = self.record(message)
        assert json.loads(JsonFormatter().format(record))["message"] == message
        record.name = "gunicorn.error"
        assert json.loads(JsonFormatter().format(record))["message"] == logged

    def test_gunicorns_access_log_stays_silent(self) -> None:
        # The access log would have the query, which may contain a secret by mistake.
        assert build_logging_config("DEBUG", "json")["loggers"]["gunicorn.access"]["level"] == "WARNING"


def test_no_secret_is_in_anything_that_a_real_server_writes(running: tuple[Server, Agent]) -> None:
    server, agent = running
    basic = base64.b64encode(f"{agent.client_id}:{agent.client_secret}".encode()).decode()
    marked = "hush-hush-0123456789"
    secrets = {agent.client_secret, basic, SECRET_KEY, marked}
    requests = 0

    def send(method: str, path: str, body: str | None = None, kind: str | None = None, **headers: str) -> Any:
        nonlocal requests
        requests += 1
        all_headers = headers | ({"Content-Type": kind} if kind else {})
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, all_headers)
            answer = connection.getresponse()
            return json.loads(answer.read() or "{}") if answer.headers["Content-Type"] == JSON else {}

    def everything() -> None:
        token = agent.token()
        bearer = f"Bearer {token}"
        secrets.update((token, token.rpartition(".")[2]))
        for route in ROUTES:
            path = route.path(agent.agent_id)
            if route.method != "DELETE":
                query = f"?client_secret={marked}&access_token={marked}"
                send(route.method, f"{path}{query}", Authorization=bearer)
                send(route.method, path, urllib.parse.urlencode(agent.form | {"token": token}), FORM)
                send(route.method, path, f'{{"name":"x","{marked}":1}}', JSON, Authorization=bearer)
                send(route.method, path, marked, JSON, Authorization=bearer)
            send(route.method, path, Authorization=f"Basic {basic}", Cookie=f"session={marked}")
            send(route.method, path, Authorization=f"Bearer {marked}")
            send(route.method, path, "grant_type=client_credentials", FORM, Authorization=f"Basic {basic}")

    issued = send("POST", "/api/v1/token", urllib.parse.urlencode(agent.form), FORM)["access_token"]
    credential = send("POST", f"/api/v1/agents/{agent.agent_id}/credentials", Authorization=f"Bearer {issued}")
    secrets.update((issued, credential["clientSecret"]))
    everything()
    # The same requests, while every statement fails.
    with psycopg.connect(server.environment["AGENTIDP_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("alter table usage_daily rename to gone")
        connection.execute("alter table clients rename to gone_as_well")
    everything()
    malformed = (
        f"GET /?client_secret={marked}\r\n\r\n",
        f"{marked} / HTTP/1.1\r\n\r\n",
        f"GET /{marked} HTTP/{marked}\r\n\r\n",
        f"GET / HTTP/1.1\r\nAuthorization Bearer {marked}\r\n\r\n",
        f"GET / HTTP/1.1\r\nAuthorization Bearer: {marked}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: localhost\r\n {marked}\r\n\r\n",
        f"GET / HTTP/1.1\r\nTransfer-Encoding: {marked}\r\n\r\n",
        f"GET / HTTP/1.1\r\nExpect: {marked}\r\n\r\n",
        f"POST /api/v1/token HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{marked}\r\n",
        f"GET /{marked}{'x' * 9000} HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nCookie: {marked}{'x' * 9000}\r\n\r\n",
    )
    for text in malformed:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(text.encode())
            assert connection.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 ", text
            assert marked.encode() not in connection.recv(65536), text

    def is_logged(text: str) -> bool:
        refused = text.count('"message": "unreadable request"')
        return text.count('"message": "request"') >= requests and refused > len(malformed) // 2

    wait_until(lambda: is_logged(server.logs()))
    logged = server.logs()
    assert '"message": "unexpected error"' in logged
    assert "Traceback" not in logged
    assert [secret for secret in secrets if secret in logged] == []
    statuses = {json.loads(line).get("status") for line in logged.splitlines()}
    assert statuses >= {200, 201, 400, 401, 500}


class TestFormat:
    """The format is text on a terminal, and JSON otherwise."""

    @pytest.mark.parametrize(
        ("log_format", "is_terminal", "formatter"),
        [
            ("auto", True, "TextFormatter"),
            ("auto", False, "JsonFormatter"),
            ("json", True, "JsonFormatter"),
            ("text", False, "TextFormatter"),
        ],
    )
    def test_is_chosen_by_the_terminal_unless_it_is_set(
        self, monkeypatch: pytest.MonkeyPatch, log_format: str, is_terminal: bool, formatter: str
    ) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
        assert build_logging_config("INFO", log_format)["formatters"]["line"]["()"] == f"agentidp.http.logs.{formatter}"

    def test_text_is_one_line_that_no_client_can_break(self) -> None:
        record = logging.makeLogRecord(
            {
                "msg": "request",
                "levelname": "INFO",
                "created": 0.0,
                "fields": {"path": "/x\n12:00:00 ERROR   forged", "status": 200, "ms": 3.1, "agent": None},
            }
        )
        assert TextFormatter().format(record) == (
            '00:00:00 INFO    request path="/x\\n12:00:00 ERROR   forged" status=200 ms=3.1'
        )
        record.msg = "an \x1b[31m escape"
        assert "\x1b" not in TextFormatter().format(record)
