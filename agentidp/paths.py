"""Paths of directories that are shipped with the code, and helpers for paths."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

TOKEN_ENDPOINT = "/api/v1/token"  # noqa: S105 - an address


def shipped_directory(name: str) -> Path:
    """Return the path of sql/ or deploy/, which is in the installed package or at the top of a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def sync_directory(directory: Path) -> None:
    """Write a directory's list of files to disk, so that a renamed file keeps its new name after a crash."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
