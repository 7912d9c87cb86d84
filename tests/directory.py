"""A temporary directory for a PostgreSQL server."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Yield an empty directory that the account of PostgreSQL can enter, with a path that is short enough for a socket.
    The account cannot enter pytest's own directory if root runs the tests.
    """
    path = Path(tempfile.mkdtemp(prefix="aidp-", dir="/tmp"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)
