"""Checks this machine: the file with the instance secret, the disk, the backups."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentidp.config import Settings
from agentidp.http.schemas import timestamp
from agentidp.maintenance.backup import MAGIC
from agentidp.maintenance.result import FAILED, OK, WARNING, Result

LITTLE_SPACE = 1 << 30
"""Minimum free bytes without a warning."""

NO_SPACE = 200 << 20
"""Minimum free bytes without a failure. PostgreSQL needs this much for its write-ahead log alone (max_wal_size)."""


def check_secret_file(path: Path) -> Result:
    """Check that the file with the instance secret exists, and that not every user can read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Result("secret", FAILED, f"{path}: {error.strerror}. Without it no signing key can be used: put it back")
    if mode & 0o007:
        return Result("secret", WARNING, f"every user of this machine may read {path}: chmod 600 {path}")
    return Result("secret", OK, f"in {path}: keep a copy elsewhere")


def check_disk(data_dir: Path) -> Result:
    """Check the free space of the embedded database's disk."""
    free = shutil.disk_usage(data_dir).free
    message = f"{free >> 20:,} MiB are free in {data_dir}"
    if free < NO_SPACE:
        return Result("disk", FAILED, f"{message}: make space, or the database stops")
    if free < LITTLE_SPACE:
        return Result("disk", WARNING, f"{message}: make space soon")
    return Result("disk", OK, message)


def check_backups(directory: Path, maximum_age: timedelta, at: datetime) -> Result:
    """Check that the directory contains a backup not older than *maximum_age*."""
    try:
        found = [(file.stat().st_mtime, file) for file in directory.iterdir() if _is_backup(file)]
    except OSError as error:
        return Result("backups", FAILED, f"{directory} cannot be read: {error.strerror}")
    if not found:
        return Result("backups", FAILED, f"there is no backup in {directory}: agentidp backup makes one")
    seconds, newest = max(found)
    made_at = datetime.fromtimestamp(seconds, UTC)
    hours = (at - made_at) / timedelta(hours=1)
    message = f"the newest of {len(found)} is {newest.name} of {timestamp(made_at)}, {hours:.0f} hours ago"
    if at - made_at > maximum_age:
        return Result("backups", FAILED, f"{message}: see why none was made since")
    return Result("backups", OK, message)


def _is_backup(file: Path) -> bool:
    if not file.is_file() or file.name.startswith("."):
        return False
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def secret_of_settings(settings: Settings, environ: dict[str, str], default: Path) -> Path | None:
    """Return the file with the instance secret. None if an environment variable contains the secret.

    :param default: the file of an embedded database's secret.
    """
    if name := environ.get("AGENTIDP_SECRET_KEY_FILE"):
        return Path(name)
    return default if settings.database_url is None and settings.secret_key is None else None
