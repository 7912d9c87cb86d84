"""Paths of sql/ and deploy/, which are shipped with the code, and helpers for paths."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

TOKEN_ENDPOINT = "/api/v1/token"  # noqa: S105 - an address


def shipped_directory(name: str) -> Path:
    """Return the directory *name*, in the installed package or at the top level of a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def sync_directory(directory: Path) -> None:
    """Wait until the names of a directory's files are on disk, so that they survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
