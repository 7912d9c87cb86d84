"""The cluster: PostgreSQL's files, made once, and checked before every start."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from agentidp.db.embedded_postgres.account import give_to
from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError
from agentidp.db.embedded_postgres.postmaster import NAME, is_alive, read_postmaster
from agentidp.db.embedded_postgres.programs import Programs


def make_cluster(home: Path, programs: Programs, major: int, *, durable: bool) -> None:
    """Make the cluster and rename it when complete: the directory `data` never is half-made."""
    unfinished, password_file = home / "data.unfinished", home / "password"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(0o700)
    give_to(programs.account, unfinished)
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24))
        file.flush()
        os.fsync(file.fileno())
    give_to(programs.account, password_file)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    options = f"-U {NAME} -A scram-sha-256 -E UTF8 --locale=C --no-instructions".split()
    sync = [] if durable else ["--no-sync"]
    programs.run("initdb", "-D", str(unfinished), "--pwfile", str(password_file), *options, *locale, *sync)
    options = ["-c", "exit_on_error=on", "-c", f"fsync={'on' if durable else 'off'}"]
    database = f"create database {NAME}\n"
    programs.run("postgres", "--single", "-D", str(unfinished), *options, "postgres", statements=database)
    unfinished.rename(home / "data")
    directory = os.open(home, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def check_cluster(home: Path, major: int) -> str:
    """Check that PostgreSQL of this version can run the cluster; return its password.

    Errors: EmbeddedPostgresError if it cannot, or a file is missing.
    """
    data = home / "data"
    try:
        written_by = (data / "PG_VERSION").read_text().strip()
        password = (home / "password").read_text()
    except FileNotFoundError as error:
        message = f"the data directory {home} is damaged: {error.filename} is missing"
        raise EmbeddedPostgresError(message) from error
    if written_by != str(major):
        raise EmbeddedPostgresError(
            f"PostgreSQL {major} cannot read {data}, which PostgreSQL {written_by} wrote: set "
            "AGENTIDP_PG_BINDIR to that version, or dump and restore"
        )
    return password


def forget_reused_pid(home: Path) -> None:
    """Remove a stale `postmaster.pid` whose process id is not (or no longer) a server's.

    PostgreSQL would refuse to start. In containers, which have few process ids, this is common after SIGKILL. The
    lock shows that our own server has ended; a server that somebody else runs has `data` as its working directory.
    """
    data, pid = home / "data", read_postmaster(home).pid
    if not is_alive(pid) or not Path("/proc/self/cwd").exists():
        return
    with contextlib.suppress(PermissionError):  # another user's; PostgreSQL disregards it as well
        try:
            running = Path(f"/proc/{pid}/cwd").readlink() == data
        except FileNotFoundError:  # a dead server that its launcher has not waited for
            running = False
        if not running:
            (data / "postmaster.pid").unlink()
