"""Where the files are that ship beside the code: sql/ and deploy/; and an address that several modules name."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

TOKEN_ENDPOINT = "/api/v1/token"  # noqa: S105 - an address


def shipped_directory(name: str) -> Path:
    """The directory *name*: inside an installed package, at the top level of a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name
