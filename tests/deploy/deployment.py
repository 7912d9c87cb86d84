"""The files in ``deploy/`` as the tests run them: nginx with the shipped site, and gunicorn on systemd's socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql

from agentidp.server.serve import gunicorn_config
from tests.conftest import with_database
from tests.factories import (
    PATIENCE,
    ROOT,
    SECRET_KEY,
    children,
    clean_environment,
    free_port,
    wait_until,
)

DEPLOY = ROOT / "deploy"
UNIT_SOCKET = "/run/agentidp/agentidp.sock"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# What systemd does for a socket unit: the listening socket is file descriptor 3, and two variables say so.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""

NO_ANSWER = (
    "The service did not answer: it is unknown whether the request was carried out. A token request may be repeated."
)
"""The body of the responses of nginx with 502, 503 and 504."""


@dataclass
class Response:
    """The status, headers and body of a response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def fetch(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Send a request on a connection, and return the response."""
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return Response(response.status, response.headers, response.read())


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a UNIX socket, without nginx."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


class Nginx:
    """nginx with the shipped site, of which only paths, ports and the certificate are changed.

    :param upstreams: the UNIX socket or the port of each server.
    """

    def __init__(self, directory: Path, *upstreams: Path | int, connections: int = 2048) -> None:
        self.directory = directory
        self.port, self.tls_port = free_port(), free_port()
        make_certificate(directory)
        site = (DEPLOY / "nginx.conf").read_text()
        addresses = [f"unix:{at}" if isinstance(at, Path) else f"127.0.0.1:{at}" for at in upstreams]
        for old, new in {
            f"unix:{UNIT_SOCKET}": ";\n    server ".join(addresses),
            "listen 443 ssl;": f"listen 127.0.0.1:{self.tls_port} ssl;\nlisten 127.0.0.1:{self.port};",
            "listen [::]:443 ssl;": f"listen [::1]:{self.tls_port} ssl;",
            "/etc/agentidp/tls.": f"{directory}/tls.",
            "/var/log/nginx/": f"{directory}/",
        }.items():
            assert old in site
            site = site.replace(old, new)
        (directory / "site.conf").write_text(site)
        temporary = "".join(
            f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Root's nginx would drop to an account that cannot enter the test's directories.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log {directory}/main.log;\n"
            f"events {{\nworker_connections {connections};\n}}\n"
            f"http {{\naccess_log off;\n{temporary}include {directory}/site.conf;\n}}\n"
        )

    def __enter__(self) -> Nginx:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        assert program, "nginx must be installed"
        self.process = subprocess.Popen(
            [program, "-p", self.directory, "-c", self.directory / "nginx.conf", "-e", self.directory / "main.log"]
        )
        try:
            wait_until(self._serves)
            # A directive that this version no longer likes.
            assert "[warn]" not in self.log("main.log"), self.log("main.log")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log("main.log")
        # The worker process has this title once it serves. A connection would not prove it: the kernel accepts
        # connections as soon as the main process listens.
        return bool(children(self.process.pid, "worker process"))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)

    def log(self, name: str) -> str:
        """Return the content of a log file."""
        return (self.directory / name).read_text()

    def requests(self) -> list[dict[str, Any]]:
        """The lines of the access log."""
        return [json.loads(line) for line in self.log("agentidp.log").splitlines()]

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection of a client."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)


def make_certificate(directory: Path) -> None:
    """Create ``tls.crt`` and ``tls.key`` for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class Unit:
    """The commands, environment and socket of ``agentidp.service``. They run as under systemd in a ``with`` block."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.path = directory / "agentidp.sock"
        (directory / "secret_key").write_text(SECRET_KEY)
        self._unit = read_unit("agentidp.service")["Service"]
        self._environment = clean_environment()
        self._environment["AGENTIDP_DATABASE_URL"] = database_url
        for assignment in self._unit["Environment"]:
            name, _, value = assignment.partition("=")
            self._environment[name] = value.replace("%d", str(directory)).replace(UNIT_SOCKET, str(self.path))
        self._log_path = directory / "journal"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self.listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            self.listener.bind(str(self.path))
            self.listener.listen(2048)
            self.start()
            opened.callback(self.stop)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _words(self, command: str) -> list[str]:
        # The unit expects a virtual environment and a link in fixed places.
        command = command.replace("/opt/agentidp/bin/", f"{Path(sys.executable).parent}/")
        return shlex.split(command.replace("/etc/agentidp/gunicorn.conf.py", str(gunicorn_config())))

    def start(self) -> None:
        """Run the commands, and return when the last command has started."""
        with self._log_path.open("a") as log:
            for command in self._unit["ExecStartPre"]:
                subprocess.run(self._words(command), env=self._environment, check=True, stdout=log, stderr=log)
            [command] = self._unit["ExecStart"]
            descriptor = self.listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(descriptor), *self._words(command)],
                env=self._environment,
                pass_fds=(3, descriptor),
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop the processes as systemd does: send SIGTERM, and wait."""
        self.process.terminate()
        assert self.process.wait(int(self._unit["TimeoutStopSec"][0])) == 0

    def log(self) -> list[dict[str, Any]]:
        """Return the JSON lines that gunicorn has logged."""
        return [json.loads(line) for line in self._log_path.read_text().splitlines() if line.startswith("{")]


def read_unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Return the values in a unit file, by section and name. A name can have several values."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


@dataclass
class Deployment:
    """nginx in front of gunicorn."""

    nginx: Nginx
    unit: Unit
    database_url: str


@contextlib.contextmanager
def deployed(postgres_url: str, template: str, directory: Path) -> Iterator[Deployment]:
    """Run everything in ``deploy/`` on a new database."""
    name = f"agentidp_deploy_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        try:
            url = with_database(postgres_url, name)
            with Unit(directory, url) as unit, Nginx(directory, unit.path) as nginx:
                yield Deployment(nginx, unit, url)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
