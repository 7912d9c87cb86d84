"""The files in ``deploy/`` at work: real nginx, gunicorn on systemd's socket, and an installed copy."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from agentidp.server.serve import gunicorn_config
from tests.conftest import new_agent
from tests.deploy.deployment import (
    DEPLOY,
    FORM,
    UNIT_SOCKET,
    Deployment,
    Nginx,
    UnixConnection,
    deployed,
    fetch,
    read_unit,
)
from tests.factories import PATIENCE, ROOT, SECRET_KEY, Agent, Server, wait_until

# These commands are spelled as in the guide.
TREND = 'curl -s "http://localhost:3000/api/v1/analytics/tokens?days={}" \\\n-H "Authorization: Bearer $TOKEN" | jq .'
HEATMAP = (
    'curl -s "http://localhost:3000/api/v1/analytics/agents/activity" \\\n-H "Authorization: Bearer $TOKEN" | jq .'
)
AGENTS = 'curl -s "http://localhost:3000/api/v1/analytics/agents" \\\n-H "Authorization: Bearer $TOKEN" | jq .'


def shell(command: str, directory: Path, **environment: str) -> str:
    """What a shell prints for a line of the guide. Every response must have been a 200.

    :param directory: where curl finds its configuration; it makes curl tell the status on standard error.
    """
    (directory / ".curlrc").write_text('write-out = "%{stderr}%{http_code}"\n')
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=os.environ | {"CURL_HOME": str(directory)} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert result.stderr == "200"
    return result.stdout


def check_the_guides_curls(port: int, agent: Agent, directory: Path) -> None:
    """Get a token with curl, run the guide's five lines with it, and compare what they print, whole."""
    # The responses depend on the hour, and the real clock cannot be set: begin after its turn, not just before.
    if (left := 3600 - time.time() % 3600) < PATIENCE:
        time.sleep(left)
    address = f"http://localhost:{port}"
    issued = json.loads(
        shell(
            f'curl -s -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials {address}/api/v1/token',
            directory,
            CLIENT_ID=agent.client_id,
            CLIENT_SECRET=agent.client_secret,
        )
    )
    token = issued.pop("access_token")
    assert issued == {"token_type": "Bearer", "expires_in": 3600, "scope": " ".join(agent.scopes)}

    def printed(line: str) -> Any:
        return json.loads(shell(line.replace("http://localhost:3000", address), directory, TOKEN=token))

    for days in (30, 7, 90):
        today = datetime.now(UTC).date()
        dates = [(today - timedelta(days=ago)).isoformat() for ago in reversed(range(days))]
        assert printed(TREND.format(days)) == {
            "tenantId": agent.organization_id,
            "days": days,
            "data": [{"date": date, "count": int(date == dates[-1])} for date in dates],
        }
    now = datetime.now(UTC)
    # The token and the three trends; a request sees those before it.
    assert printed(HEATMAP) == {
        "tenantId": agent.organization_id,
        "data": [{"dow": now.isoweekday() % 7, "hour": now.hour, "count": 4}],
    }
    assert printed(AGENTS) == {
        "tenantId": agent.organization_id,
        "month": f"{now:%Y-%m}",
        "data": [{"agentId": agent.client_id, "tokenCount": 1}],
    }


@pytest.fixture(scope="module")
def deployment(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """nginx and gunicorn on a database of their own."""
    with deployed(postgres_url, template, tmp_path_factory.mktemp("deploy")) as running:
        yield running


def test_the_guides_curls_work_through_nginx(deployment: Deployment, tmp_path: Path) -> None:
    check_the_guides_curls(deployment.nginx.port, new_agent(deployment.database_url), tmp_path)


def sign_in_to_the_dashboard(connection: http.client.HTTPConnection, agent: Agent) -> str:
    """Send the form as a browser does; the cookie as it comes back."""
    form = urlencode({"client_id": agent.client_id, "client_secret": agent.client_secret}).encode()
    response = fetch(connection, "POST", "/dashboard/sign-in", form, FORM | {"Sec-Fetch-Site": "same-origin"})
    assert (response.status, response.headers["Location"]) == (303, "/dashboard")
    return response.headers["Set-Cookie"].partition(";")[0]


def test_the_dashboard_works_through_nginx_and_no_log_holds_a_session(deployment: Deployment) -> None:
    client, direct = deployment.nginx.connection(), UnixConnection(deployment.unit.path)
    agent = new_agent(deployment.database_url)
    sign_in_to_the_dashboard(client, agent)
    link = agent.link()
    linked = fetch(client, "GET", link, headers={"Sec-Fetch-Site": "none"})
    assert (linked.status, linked.headers["Location"]) == (303, "/dashboard")
    cookie = linked.headers["Set-Cookie"].partition(";")[0]
    tokens = {cookie.removeprefix("agentidp_session="), link.partition("=")[2]}
    assert fetch(client, "GET", link).status == 401
    for path, headers, status in (
        ("/dashboard", {"Cookie": cookie}, 200),
        ("/dashboard", {"Cookie": cookie + "x"}, 401),
        ("/dashboard/static/dashboard.css", {}, 200),
        ("/dashboard/nothing", {}, 404),
    ):
        through = fetch(client, "GET", path, headers=headers)
        past = fetch(direct, "GET", path, headers=headers)
        assert (through.status, past.status) == (status, status)
        for header in ("Content-Type", "Content-Security-Policy", "Cache-Control", "Referrer-Policy", "Set-Cookie"):
            assert through.headers.get_all(header) == past.headers.get_all(header)
    out = fetch(client, "POST", "/dashboard/sign-out", headers={"Cookie": cookie, "Origin": "http://localhost:3000"})
    assert out.status == 303
    assert fetch(client, "GET", "/dashboard", headers={"Cookie": cookie}).status == 401
    client.close()
    direct.close()
    wait_until(lambda: deployment.nginx.requests()[-1]["path"] == "/dashboard")
    logs = [*deployment.nginx.directory.glob("*.log"), deployment.nginx.directory / "journal"]
    assert len(logs) >= 3
    assert not [log for log in logs if any(token in log.read_text() for token in tokens)]


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize(("option", "spoken"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_nginx_speaks_tls(deployment: Deployment, tmp_path: Path, address: str, option: str, spoken: str) -> None:
    nginx = deployment.nginx
    command = (
        f"curl -s {option} --write-out '%{{stderr}}%{{http_code}}%{{stdout}} %{{http_version}}' "
        f"--cacert {nginx.directory}/tls.crt --resolve 'localhost:{nginx.tls_port}:{address}' "
        f"https://localhost:{nginx.tls_port}/healthz"
    )
    assert shell(command, tmp_path) == f'{{"status":"ok"}} {spoken}'


def test_nginx_keeps_its_connection_to_gunicorn(deployment: Deployment) -> None:
    def connections() -> set[str]:
        # Num RefCount Protocol Flags Type St Inode Path: the accepted ones bear the socket's path; 03 is connected.
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        return {words[6] for words in lines if words[7:] == [str(deployment.unit.path)] and words[5] == "03"}

    client = deployment.nginx.connection()
    assert fetch(client, "GET", "/healthz").status == 200
    seen = connections()
    for _ in range(60):
        assert fetch(client, "GET", "/healthz").status == 200
        seen |= connections()
    client.close()
    # nginx replaces a connection after its hundredth request, and after a pause of the machine.
    assert 1 <= len(seen) <= 5


class Listener(socketserver.ThreadingUnixStreamServer):
    """Takes gunicorn's place, and keeps the headers of the requests that come."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), self.Handler)
        self.seen: list[http.client.HTTPMessage] = []

    class Handler(BaseHTTPRequestHandler):
        """Responds with 204."""

        def do_GET(self) -> None:
            """Keep the headers."""
            self.server.seen.append(self.headers)  # type: ignore[attr-defined]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""


def test_what_nginx_adds_to_a_request(tmp_path: Path) -> None:
    with Listener(tmp_path / "listener.sock") as listener, Nginx(tmp_path, tmp_path / "listener.sock") as nginx:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}).start()
        client = nginx.connection()
        sent = {"Host": "idp.example.com", "Authorization": "Bearer x", "X-Forwarded-For": "192.0.2.1"}
        response = fetch(client, "GET", "/", headers=sent | {"X-Request-Id": "mine", "Connection": "close"})
        client.close()
        listener.shutdown()
    assert response.status == 204
    [received] = listener.seen
    request_id = received["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert sorted(received.items()) == [
        ("Accept-Encoding", "identity"),
        ("Authorization", "Bearer x"),
        ("Host", "idp.example.com"),
        ("X-Forwarded-For", "192.0.2.1, 127.0.0.1"),
        ("X-Request-Id", request_id),
    ]


def test_one_request_id_stands_in_all_logs_and_in_the_response(deployment: Deployment) -> None:
    client = deployment.nginx.connection()
    response = fetch(client, "GET", "/healthz", headers={"X-Request-Id": "chosen-by-the-client"})
    client.close()
    [request_id] = response.headers.get_all("X-Request-Id", [])
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    # nginx logs a request after it has responded.
    wait_until(lambda: [line["request_id"] for line in deployment.nginx.requests()[-1:]] == [request_id])
    logged = deployment.nginx.requests()[-1]
    assert logged["path"] == "/healthz"
    assert logged["status"] == logged["upstream_status"] == "200"
    assert request_id in [line.get("request_id") for line in deployment.unit.log()]


def test_errors_of_the_application_pass_unchanged(deployment: Deployment) -> None:
    client, direct = deployment.nginx.connection(), UnixConnection(deployment.unit.path)
    for method, path, body, headers, status in (
        ("GET", "/api/v1/analytics/tokens", None, {}, 401),
        ("GET", "/api/v1/analytics/tokens", None, {"Authorization": "Bearer nonsense"}, 401),
        ("POST", "/api/v1/token", b"grant_type=client_credentials", FORM, 401),
        ("POST", "/api/v1/token", b"", FORM, 400),
        ("GET", "/nowhere", None, {}, 404),
        ("PUT", "/api/v1/token", None, {}, 405),
    ):
        through = fetch(client, method, path, body, headers)
        past = fetch(direct, method, path, body, headers)
        assert past.status == status
        assert (through.status, through.body) == (past.status, past.body)
        for header in ("Content-Type", "WWW-Authenticate", "Cache-Control", "Allow"):
            assert through.headers.get_all(header) == past.headers.get_all(header)
    client.close()
    direct.close()


def test_gunicorn_takes_what_nginx_lets_through(deployment: Deployment) -> None:
    client = deployment.nginx.connection()
    for query, headers in (
        ("?" + "x" * 8_000, {}),
        ("", {"X": "x" * 8_180}),
        ("", {f"X-{number}": "x" for number in range(500)}),
    ):
        assert fetch(client, "GET", f"/healthz{query}", headers=headers).status == 200
    client.close()


def test_a_body_that_is_not_read_does_not_hurt_the_next_request(deployment: Deployment) -> None:
    # One byte more, and gunicorn would close the connection that it has promised to keep.
    client = deployment.nginx.connection()
    for _ in range(50):
        assert fetch(client, "POST", "/api/v1/agents", b"a" * 65_535, {}).status == 401
        assert fetch(client, "POST", "/api/v1/token", b"", FORM).status == 400
    client.close()


def test_the_units_fit_together() -> None:
    service, sockets = read_unit("agentidp.service"), read_unit("agentidp.socket")
    assert sockets["Socket"]["ListenStream"] == [UNIT_SOCKET]
    assert f"AGENTIDP_BIND=unix:{UNIT_SOCKET}" in service["Service"]["Environment"]
    assert service["Unit"]["Requires"] == ["agentidp.socket"]
    assert f"server unix:{UNIT_SOCKET};" in (DEPLOY / "nginx.conf").read_text()
    settings: dict[str, Any] = {}
    exec(gunicorn_config().read_text(), settings)  # noqa: S102 - our own file, as gunicorn runs it
    assert settings["graceful_timeout"] < int(service["Service"]["TimeoutStopSec"][0])
    nginx = (DEPLOY / "nginx.conf").read_text()
    [read_timeout] = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    [idle] = re.findall(r"keepalive_timeout (\d+)s;", nginx)
    assert settings["timeout"] < int(read_timeout)
    assert int(idle) < settings["keepalive"]


def test_an_installed_copy_runs_without_the_checkout(database_url: str, tmp_path: Path) -> None:
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("agentidp", "sql", "deploy"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-index", "--no-build-isolation", "--target", installed, source),
        ],
        check=True,
    )
    for shipped in DEPLOY.iterdir():
        if shipped.is_file():
            assert (installed / "agentidp" / "deploy" / shipped.name).read_bytes() == shipped.read_bytes()
    shutil.rmtree(source)
    # A mark by which the copy's answer is known from the checkout's.
    operations = installed / "agentidp" / "operations" / "health.py"
    operations.write_text(operations.read_text().replace('{"status": "ok"}', '{"status": "installed"}'))
    # The working directory is the checkout: the copy must stay itself there, gunicorn's workers included.
    server = Server(
        {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "PYTHONPATH": str(installed)}
    )
    server.command[1:1] = ["-P"]
    with server:
        assert server.get("/healthz") == b'{"status":"installed"}'
        agent = new_agent(database_url)
        check_the_guides_curls(server.port, agent, tmp_path)
        # Templates, what the pages load, and statements in directories of directories.
        page = server.get("/dashboard/sign-in").decode()
        for address in re.findall(r'(?:href|src)="(/dashboard/static/[^"]+)"', page):
            assert server.get(address)
        token = agent.token(issuer=server.url, audience=f"{server.url}/api/v1")
        findings = server.get("/api/v1/analytics/findings", {"Authorization": f"Bearer {token}"})
        assert json.loads(findings)["data"] == []
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        session = sign_in_to_the_dashboard(client, agent)
        client.close()
        assert b"First steps" in server.get("/dashboard", {"Cookie": session})
