"""Checks this machine: the file with the instance secret, the disk, the backups."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agentidp.http.schemas import timestamp
from agentidp.maintenance.backup import FIRST_BYTES
from agentidp.maintenance.result import FAILED, OK, WARNING, Result

MIN_SPACE_WITHOUT_WARNING = 1 << 30
"""Minimum free bytes on the disk. With less space, the check warns."""

MIN_SPACE = 200 << 20
"""Minimum free bytes on the disk, which PostgreSQL's write-ahead log needs. With less space, the check fails."""


def check_secret_file(path: Path) -> Result:
    """Check that the file of the instance secret exists, and that other users of this machine cannot read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Result("secret", FAILED, f"{path}: {error.strerror}. Restore this file: it decrypts the signing keys")
    if mode & 0o007:
        return Result("secret", WARNING, f"every user of this machine may read {path}: run chmod 600 {path}")
    return Result("secret", OK, f"in {path}: keep a copy elsewhere")


def check_disk(data_dir: Path) -> Result:
    """Check the free space on the disk with the embedded database."""
    free_bytes = shutil.disk_usage(data_dir).free
    message = f"{free_bytes >> 20:,} MiB are free in {data_dir}"
    if free_bytes < MIN_SPACE:
        return Result("disk", FAILED, f"{message}: make space, or the database stops")
    if free_bytes < MIN_SPACE_WITHOUT_WARNING:
        return Result("disk", WARNING, f"{message}: make space soon")
    return Result("disk", OK, message)


def check_backups(directory: Path, maximum_age: timedelta, at: datetime) -> Result:
    """Check that the newest backup in a directory is not older than *maximum_age*."""
    try:
        times_and_files = [(file.stat().st_mtime, file) for file in directory.iterdir() if _is_backup(file)]
    except OSError as error:
        return Result("backups", FAILED, f"{directory} cannot be read: {error.strerror}")
    if not times_and_files:
        return Result("backups", FAILED, f"there is no backup in {directory}: make one with agentidp backup")
    newest_mtime, newest_file = max(times_and_files)
    made_at = datetime.fromtimestamp(newest_mtime, UTC)
    age_hours = (at - made_at) / timedelta(hours=1)
    message = (
        f"the newest of {len(times_and_files)} is {newest_file.name} of {timestamp(made_at)}, {age_hours:.0f} hours ago"
    )
    if at - made_at > maximum_age:
        return Result("backups", FAILED, f"{message}: see why none was made since")
    return Result("backups", OK, message)


def _is_backup(file: Path) -> bool:
    if not file.is_file() or file.name.startswith("."):
        return False
    with file.open("rb") as content:
        return content.read(len(FIRST_BYTES)) == FIRST_BYTES
