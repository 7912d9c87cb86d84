"""Paths of sql/ and deploy/, which are shipped with the code, and an address that several modules use."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

TOKEN_ENDPOINT = "/api/v1/token"  # noqa: S105 - an address


def shipped_directory(name: str) -> Path:
    """Return the directory *name*, which is in an installed package or at the top level of a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name
