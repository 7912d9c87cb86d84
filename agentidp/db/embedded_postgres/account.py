"""The unprivileged account that PostgreSQL runs in if AgentIdP runs as root."""

import contextlib
import os
import pwd
from pathlib import Path

from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError

Account = pwd.struct_passwd


def service_account() -> Account:
    """Errors: EmbeddedPostgresError if the machine has no such account."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no account postgres or nobody")


def obstacle(path: Path, account: Account) -> Path | None:
    """The topmost of `path` and its parents that `account` may not enter (or, if a file, execute)."""
    for step in [*reversed(path.parents), path]:
        status = step.stat()
        own, group = status.st_uid == account.pw_uid, status.st_gid == account.pw_gid
        if not status.st_mode & (0o100 if own else 0o010 if group else 0o001):
            return step
    return None


def give_to(account: Account | None, path: Path | str) -> None:
    """Change the owner of `path`, if there is an account."""
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)
