"""Creates the cluster once, checks it at every start, and runs its server until the process that started it ends."""

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentidp.db.embedded_postgres.home import (
    NAME,
    PORT,
    Account,
    EmbeddedPostgresError,
    SocketDirectory,
    change_owner,
    is_alive,
    lock_home,
    prepare_home,
    read_postmaster,
    server_url,
)
from agentidp.db.embedded_postgres.programs import Programs, find_error, prepare_binaries
from agentidp.paths import sync_directory

SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",  # Compiling takes longer than our short queries.
    "max_parallel_workers_per_gather": "0",  # There are few cores, short queries, and 64 MB of /dev/shm in Docker.
    "huge_pages": "off",  # Huge pages have no benefit at 128 MB of shared_buffers.
    "wal_level": "minimal",  # The server has no replicas.
    "max_wal_senders": "0",
    "max_wal_size": "256MB",  # By default pg_wal may grow to 1 GB.
    # These settings keep statements and their values out of the log. `log` ranks above `error`, so failed statements
    # are not logged. `terse` omits DETAIL, which quotes rows and crashed queries.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Callers cannot override these settings, because the URL depends on them, and the server must not listen on TCP.
FIXED = {"listen_addresses": "", "port": str(PORT), "unix_socket_permissions": "0700"}


def make_cluster(home: Path, programs: Programs, major: int, *, durable: bool) -> None:
    """Create a database cluster in a temporary directory, and rename the directory to `data` when it is complete."""
    unfinished_data, password_file = home / "data.unfinished", home / "password"
    if unfinished_data.exists():
        shutil.rmtree(unfinished_data)
    unfinished_data.mkdir(0o700)
    change_owner(programs.account, unfinished_data)
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as open_password_file:
        open_password_file.write(secrets.token_urlsafe(24))
        open_password_file.flush()
        os.fsync(open_password_file.fileno())
    change_owner(programs.account, password_file)
    locale_options = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    file_options = [f"--pgdata={unfinished_data}", f"--pwfile={password_file}", *([] if durable else ["--no-sync"])]
    initdb_options = f"-U {NAME} -A scram-sha-256 -E UTF8 --locale=C --no-instructions".split()
    programs.run("initdb", *file_options, *initdb_options, *locale_options)
    single_user_options = ["-D", str(unfinished_data), "--exit_on_error=on", f"--fsync={'on' if durable else 'off'}"]
    programs.run("postgres", "--single", *single_user_options, "postgres", statements=f"create database {NAME}\n")
    unfinished_data.rename(home / "data")
    sync_directory(home)


def read_cluster_password(home: Path, major: int) -> str:
    """Check that the cluster belongs to this major version of PostgreSQL, and return the superuser's password.

    Errors: EmbeddedPostgresError if another version created the cluster, or a file is missing.
    """
    data_directory = home / "data"
    try:
        cluster_major_version = (data_directory / "PG_VERSION").read_text().strip()
        password = (home / "password").read_text()
    except FileNotFoundError as error:
        error_message = f"the data directory {home} is damaged: {error.filename} is missing"
        raise EmbeddedPostgresError(error_message) from error
    if cluster_major_version != str(major):
        raise EmbeddedPostgresError(
            f"PostgreSQL {major} cannot read {data_directory}, which PostgreSQL {cluster_major_version} wrote: set "
            "AGENTIDP_PG_BINDIR to that version, or dump and restore"
        )
    return password


def forget_reused_pid(home: Path) -> None:
    """Remove a stale `postmaster.pid` whose process id belongs to another program. PostgreSQL would not start with it.

    A container uses few process ids, so the id of a killed server is often reused.
    """
    data_directory, pid = home / "data", read_postmaster(home).pid
    if not is_alive(pid) or not Path("/proc/self/cwd").exists():
        return
    # This process has locked `home`, so every server that AgentIdP started there has ended. A server that somebody else
    # started there has `data` as its working directory.
    with contextlib.suppress(PermissionError):  # PostgreSQL itself ignores processes of other users.
        try:
            is_server = Path(f"/proc/{pid}/cwd").readlink() == data_directory
        except FileNotFoundError:  # The server has ended, but its parent has not waited for it.
            is_server = False
        if not is_server:
            (data_directory / "postmaster.pid").unlink()


MAX_LOG_SIZE = 1 << 20  # Maximum bytes of the log. A larger log is renamed at the next start.


class EmbeddedPostgres:
    """A private PostgreSQL server, which can be used as a context manager.

    Arguments:
        home: the directory of all the server's files; created if it is missing.
        bindir: the directory of `postgres` and `initdb`; by default the wheel's.
        durable: whether commits survive a crash of the machine; False for temporary data.
        settings: PostgreSQL settings that override the defaults, except those in `FIXED`.
    """

    url: str  # start() sets the URL, which contains the password.

    def __init__(
        self, home: Path, *, bindir: Path | None = None, durable: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        self.home = Path(home).resolve()
        self._bindir = bindir
        self._durable = durable
        self._settings = SETTINGS | ({} if durable else THROW_AWAY) | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._launcher = 0
        self._has_run_server = False  # Whether a start succeeded without a later stop. A new start then keeps the URL.
        self._socket_directory = SocketDirectory(self.home)

    def start(self, timeout: float = 30) -> "EmbeddedPostgres":
        """Start the server, create its cluster if necessary, and return when the server accepts connections.

        Arguments:
            timeout: maximum seconds until the server is ready, including the shutdown of an earlier server on `home`.

        Errors: EmbeddedPostgresError, for example if another AgentIdP runs on `home`.
        """
        if self.is_running():
            return self
        deadline = time.monotonic() + timeout
        self._launcher, self._process = os.getpid(), None
        try:
            account = prepare_home(self.home)
            with lock_home(self.home, deadline, has_run_server=self._has_run_server) as lock_file:
                self.url = self._start_with_lock(account, lock_file, deadline)
        except BaseException as error:
            if self._has_run_server:
                self._stop_process()  # The socket's directory stays for the next attempt.
            else:
                self.stop()
            if isinstance(error, OSError):
                error_cause = ": ".join(filter(None, (error.strerror, error.filename)))
                error_message = f"the data directory {self.home} is not writable ({error_cause})"
                raise EmbeddedPostgresError(error_message) from error
            raise
        self._has_run_server = True
        return self

    def _start_with_lock(self, account: Account | None, lock: int, deadline: float) -> str:
        programs = Programs(prepare_binaries(self.home, self._bindir, account), account, lock)
        major_version = programs.read_major_version()
        if not (self.home / "data").exists():
            make_cluster(self.home, programs, major_version, durable=self._durable)
        password = read_cluster_password(self.home, major_version)
        forget_reused_pid(self.home)
        socket_directory = self._socket_directory.create(account)
        self._launch_server(programs, socket_directory, deadline)
        return server_url(password, socket_directory)

    def _launch_server(self, programs: Programs, socket_directory: str, deadline: float) -> None:
        log_file = self.home / "server.log"
        if log_file.exists() and log_file.stat().st_size > MAX_LOG_SIZE:
            log_file.rename(self.home / "server.log.1")
        settings = self._settings | FIXED | {"unix_socket_directories": socket_directory}
        log_descriptor = os.open(log_file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            previous_log_size = os.fstat(log_descriptor).st_size
            atexit.register(self.stop)
            self._process = programs.start_server(self.home / "data", settings, log_descriptor)
            while True:
                postmaster = read_postmaster(self.home)
                if postmaster.pid == self._process.pid and postmaster.status == "ready":
                    return
                has_ended = self._process.poll() is not None
                if has_ended or time.monotonic() > deadline:
                    log_output = os.pread(log_descriptor, MAX_LOG_SIZE, previous_log_size).decode(errors="replace")
                    failure_cause = find_error(log_output) if has_ended else "it was not ready in time"
                    raise EmbeddedPostgresError(f"PostgreSQL did not start: {failure_cause}")
                time.sleep(0.005)
        finally:
            os.close(log_descriptor)

    def stop(self) -> None:
        """Stop the server, by force if it has not ended after 20 seconds. Do nothing if it does not run."""
        # A forked child of this process, such as gunicorn's worker, must not stop the server when it ends.
        if self._launcher != os.getpid():
            return
        self._stop_process()
        self._socket_directory.remove()
        self._has_run_server = False
        atexit.unregister(self.stop)

    def _stop_process(self) -> None:
        for stop_signal, max_seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 10)):
            if self._process is not None and self.is_running():
                self._process.send_signal(stop_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(max_seconds)

    def is_running(self) -> bool:
        """Return whether the server that this object has started is still running."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> "EmbeddedPostgres":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


MEMORY = "/dev/shm"  # noqa: S108
MIN_FREE_MEMORY = 2 << 30  # Minimum free bytes in MEMORY. A container has 64 MB by default.


@contextlib.contextmanager
def temporary(*, durable: bool = False, **options: Any) -> Iterator[EmbeddedPostgres]:
    """Run a temporary server, and remove its data afterwards. Unless `durable`, its data is in memory if possible.

    Options and errors are those of EmbeddedPostgres.
    """
    home_directory = tempfile.mkdtemp(prefix="agentidp-", dir=_choose_test_directory(durable))
    try:
        with EmbeddedPostgres(Path(home_directory), durable=durable, **options) as server:
            yield server
    finally:
        shutil.rmtree(home_directory, ignore_errors=True)


def _choose_test_directory(durable: bool) -> str:
    # Creating a database takes 8 ms in memory and 200 ms on a disk. MEMORY and /tmp are short, because the path of the
    # server's socket begins with the directory and has a maximum length.
    if not durable:
        with contextlib.suppress(OSError):
            space = os.statvfs(MEMORY)
            if os.access(MEMORY, os.W_OK) and space.f_bavail * space.f_frsize >= MIN_FREE_MEMORY:
                return MEMORY
    return "/tmp"  # noqa: S108
