"""A server that starts, and stops with the process that started it."""

import atexit
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from agentidp.db.embedded_postgres.account import Account
from agentidp.db.embedded_postgres.binaries import find_binaries
from agentidp.db.embedded_postgres.cluster import check_cluster, forget_reused_pid, make_cluster
from agentidp.db.embedded_postgres.configuration import FIXED, configuration
from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError
from agentidp.db.embedded_postgres.home import locked, prepare_home
from agentidp.db.embedded_postgres.postmaster import read_postmaster, server_url
from agentidp.db.embedded_postgres.programs import Programs, reason
from agentidp.db.embedded_postgres.socket_directory import SocketDirectory

LARGEST_LOG = 1 << 20  # bytes; a larger one is renamed at the next start


class EmbeddedPostgres:
    """A private PostgreSQL server in the directory `home`, which contains nothing else; also a context manager.

    Arguments:
        home: made if it is missing. Everything is kept in it (but a long path has its socket in /tmp).
        bindir: the directory of `postgres` and `initdb`; by default the wheel's.
        durable: whether a commit survives a crash of the machine; False for throw-away data.
        settings: PostgreSQL settings that override ours, except those that keep it off TCP.

    Errors: EmbeddedPostgresError for a setting that may not be overridden.
    """

    url: str  # set by start(); it contains the password

    def __init__(
        self,
        home: Path,
        *,
        bindir: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Path(home).resolve()
        self._bindir = bindir
        self._durable = durable
        self._settings = configuration(durable=durable, overrides=settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._launcher = 0
        self._has_run = False  # and was not stopped: then start() starts it again, under the same URL
        self._socket_directory = SocketDirectory(self.home)

    def start(self, timeout: float = 30) -> "EmbeddedPostgres":
        """Start the server, in a new cluster if there is none; return when it takes connections.

        A server that has ended by itself, for example because it was killed, is started again under the same URL.

        Arguments:
            timeout: seconds to wait for it, and before that for one whose launcher was killed to shut down.

        Errors: EmbeddedPostgresError, for example if another AgentIdP runs on `home`.
        """
        if self.is_running():
            return self
        deadline = time.monotonic() + timeout
        if self._launcher != os.getpid():
            self._has_run = False
            self._socket_directory.forget()
        self._launcher, self._process = os.getpid(), None
        try:
            account = prepare_home(self.home)
            with locked(self.home, deadline, has_run=self._has_run) as lock:
                self.url = self._start_locked(account, lock, deadline)
        except BaseException as error:
            if self._has_run:
                self._stop_process()  # the next attempt needs the socket's directory
            else:
                self.stop()
            if isinstance(error, OSError):
                cause = ": ".join(filter(None, (error.strerror, error.filename)))
                message = f"the data directory {self.home} is not writable ({cause})"
                raise EmbeddedPostgresError(message) from error
            raise
        self._has_run = True
        return self

    def _start_locked(self, account: Account | None, lock: int, deadline: float) -> str:
        programs = Programs(find_binaries(self.home, self._bindir, account), account, lock)
        major = programs.major_version()
        if not (self.home / "data").exists():
            make_cluster(self.home, programs, major, durable=self._durable)
        password = check_cluster(self.home, major)
        forget_reused_pid(self.home)
        socket_directory = self._socket_directory.make(account)
        self._launch(programs, socket_directory, deadline)
        return server_url(password, socket_directory)

    def _launch(self, programs: Programs, socket_directory: str, deadline: float) -> None:
        log_file = self.home / "server.log"
        if log_file.exists() and log_file.stat().st_size > LARGEST_LOG:
            log_file.rename(self.home / "server.log.1")
        settings = self._settings | FIXED | {"unix_socket_directories": socket_directory}
        log = os.open(log_file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            begin = os.fstat(log).st_size
            atexit.register(self.stop)
            self._process = programs.start_server(self.home / "data", settings, log)
            while True:
                server = read_postmaster(self.home)
                if server.pid == self._process.pid and server.status == "ready":
                    return
                exited = self._process.poll() is not None
                if exited or time.monotonic() > deadline:
                    output = os.pread(log, LARGEST_LOG, begin).decode(errors="replace")
                    cause = reason(output) if exited else "it was not ready in time"
                    raise EmbeddedPostgresError(f"PostgreSQL did not start: {cause}", output)
                time.sleep(0.005)
        finally:
            os.close(log)

    def stop(self) -> None:
        """Stop the server, cleanly if it can within 20 s; does nothing if it does not run."""
        # A fork of the launcher (a web server's worker) must not stop the server when it exits.
        if self._launcher != os.getpid():
            return
        self._stop_process()
        self._socket_directory.remove()
        self._has_run = False
        atexit.unregister(self.stop)

    def _stop_process(self) -> None:
        for stop_signal, patience in ((signal.SIGINT, 20), (signal.SIGQUIT, 10)):
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(stop_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)

    def is_running(self) -> bool:
        """Whether the server that this object started still runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> "EmbeddedPostgres":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()
