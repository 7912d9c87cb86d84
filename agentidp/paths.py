"""Where the files are that ship beside the code: sql/ and deploy/."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_directory(name: str) -> Path:
    """The directory *name*: inside an installed package, at the top level of a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name
