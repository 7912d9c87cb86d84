"""Starts and stops gunicorn, the watcher and the embedded database together for ``agentidp serve``."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psycopg

from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.sql import load_sql, run_statement
from agentidp.parent_death import signal_at_parent_death
from agentidp.paths import PACKAGE, shipped_directory
from agentidp.server.listening import parse_address, refuse_busy_address, refuse_exposed_address
from agentidp.server.postgres_supervision import Supervisor
from agentidp.server.runtime import Runtime, open_instance

LOGIN_ROLE = "agentidp_login"
"""The role as which the service logs in to the embedded PostgreSQL."""

START_TIMEOUT = 30
"""Maximum seconds from gunicorn's start to its first response."""

GUNICORN_STOP = 35
"""Maximum seconds until gunicorn has completed its requests and ended. Must exceed gunicorn's graceful_timeout."""

WATCH_RESTART = 5.0
"""Minimum seconds between two starts of ``agentidp watch``."""

WATCH_STOP = 5.0
"""Seconds after which ``agentidp watch`` is killed if it does not stop. PostgreSQL then rolls back its transaction."""


class Stopped(BaseException):
    """A signal asks this process to end. Not an ``Exception``, so that ``except Exception`` does not catch it."""


def gunicorn_config() -> Path:
    """Return the path of ``gunicorn.conf.py``, in the installed package or in the checkout's directory ``deploy``."""
    return shipped_directory("deploy") / "gunicorn.conf.py"


def serve(
    settings: Settings,
    *,
    bind: str | None,
    prepare: Callable[[Runtime], None],
    announce: Callable[[Runtime], None],
) -> int:
    """Run the service until a signal arrives or gunicorn or the database ends.

    :param bind: ``address:port`` or ``unix:path``. None means ``127.0.0.1`` and the setting PORT.
    :param prepare: called when the database is ready.
    :param announce: called when the service responds to requests.
    :returns: the exit code after a signal.
    :raises ConfigurationError: the service cannot start or has failed.
    """
    bind = bind or f"127.0.0.1:{settings.port}"
    with _handle_signals():
        try:
            refuse_exposed_address(bind, settings.trusted_proxies)
            refuse_busy_address(bind)
            with open_instance(settings, must_run_server=True) as runtime:
                prepare(runtime)
                return _run_gunicorn(runtime, bind, announce)
        except Stopped:
            return 0


def _run_gunicorn(runtime: Runtime, bind: str, announce: Callable[[Runtime], None]) -> int:
    environment = _build_gunicorn_environment(runtime, bind)
    gunicorn = _start_child(["gunicorn", "--config", str(gunicorn_config()), "agentidp:create_app()"], environment)
    watcher = None
    if runtime.settings.watch == "on":
        # The watcher needs the operator's role, because the service's role cannot list the organizations.
        watcher = Watcher({**environment, "AGENTIDP_DATABASE_URL": str(runtime.settings.database_url)})
    try:
        _await_gunicorn(gunicorn, bind)
        announce(runtime)
        postgres = Supervisor(runtime.postgres) if runtime.postgres is not None else None
        while gunicorn.poll() is None:
            if postgres is not None:
                postgres.keep_running()
            if watcher is not None:
                watcher.keep_running()
            time.sleep(0.2)
        raise ConfigurationError(f"gunicorn has ended with exit code {gunicorn.returncode}")
    finally:
        if watcher is not None:
            watcher.stop()
        _stop_child(gunicorn, GUNICORN_STOP)


def _build_gunicorn_environment(runtime: Runtime, bind: str) -> dict[str, str]:
    settings, database_url = runtime.settings, str(runtime.settings.database_url)
    environment = {
        **os.environ,
        # gunicorn does not get the URL of the embedded PostgreSQL's superuser, but of a role with fewer rights.
        "AGENTIDP_DATABASE_URL": _create_service_url(database_url) if runtime.postgres is not None else database_url,
        "AGENTIDP_SECRET_KEY": settings.instance_secret.decode(),
        "AGENTIDP_BIND": bind,
        "PWD": str(Path.cwd()),
    }
    environment.pop("AGENTIDP_SECRET_KEY_FILE", None)
    # This path makes the workers import this copy of the package. Without the working directory in
    # PYTHONPATH, gunicorn would put this directory, which may contain another copy, first on the path.
    python_path = [str(PACKAGE.parent), os.environ.get("PYTHONPATH"), environment["PWD"]]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, python_path))
    return environment


def _create_service_url(superuser_url: str) -> str:
    """Create the service's login role if it is missing, set a new password, and return the service's database URL.

    Even if an attacker makes a session of the service run ``reset role``, the login role can read and write nothing.

    :param superuser_url: the URL of the migrated database, with a superuser.
    """
    password = secrets.token_urlsafe(24)
    with connect(superuser_url) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            run_statement(connection, "database/create_login_role")
        psycopg.ClientCursor(connection).execute(load_sql("database/change_login_role"), {"password": password})
    url_parts = urlsplit(superuser_url)
    database_host = url_parts.netloc.rpartition("@")[2]
    return url_parts._replace(netloc=f"{LOGIN_ROLE}:{password}@{database_host}").geturl()


def _start_child(module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a Python module with its arguments as a child process, which ends when this process ends."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *module],
        env=environment,
        # A new session keeps Ctrl-C from the child, because this process stops its children in order.
        start_new_session=True,
        preexec_fn=signal_at_parent_death(signal.SIGTERM),
    )


def _stop_child(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Stop a child process by SIGTERM, and after *timeout* seconds by SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Watcher:
    """Runs ``agentidp watch`` as a child process, and restarts it if it has ended."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = -WATCH_RESTART

    def keep_running(self) -> None:
        """Start ``agentidp watch`` if it does not run, at most once per ``WATCH_RESTART`` seconds."""
        if self._process is not None and self._process.poll() is None:
            return
        if time.monotonic() < self._started_at + WATCH_RESTART:
            return
        self._started_at = time.monotonic()
        self._process = _start_child(["agentidp", "watch"], self._environment)

    def stop(self) -> None:
        """Stop ``agentidp watch``. The next start repeats an interrupted evaluation."""
        if self._process is not None:
            _stop_child(self._process, WATCH_STOP)


def _await_gunicorn(gunicorn: subprocess.Popen[bytes], bind: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if gunicorn.poll() is not None:
            raise ConfigurationError(f"gunicorn did not start (exit code {gunicorn.returncode})")
        with contextlib.suppress(OSError):
            if _accepts_connections(bind):
                return
        time.sleep(0.05)
    raise ConfigurationError(f"gunicorn did not respond within {START_TIMEOUT} seconds")


def _accepts_connections(bind: str) -> bool:
    socket_address: str | tuple[str, int]
    if bind.startswith("unix:"):
        family, socket_address = socket.AF_UNIX, bind.removeprefix("unix:")
    else:
        host, port = parse_address(bind)
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
        family, socket_address = socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)
    with socket.socket(family) as probe_socket:
        probe_socket.settimeout(1)
        probe_socket.connect(socket_address)
        probe_socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b" 200 " in probe_socket.recv(64)


@contextlib.contextmanager
def _handle_signals() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        # Further signals are ignored, so that they do not interrupt the orderly stop.
        for signum in signals:
            signal.signal(signum, signal.SIG_IGN)
        raise Stopped

    signals = [signal.SIGINT, signal.SIGTERM]
    # SIGHUP stays ignored if this process was started by nohup.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    earlier_handlers = {signum: signal.signal(signum, stop) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in earlier_handlers.items():
            signal.signal(signum, handler)
