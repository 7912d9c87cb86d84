"""A file system that is small enough to be filled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.directory import open_directory
from tests.factories import ROOT

SIZE = 192
"""Size of the file system in megabytes. A new cluster has 60, its log grows, and programs may be copied."""

CAP_SYS_ADMIN = 1 << 21
MNT_DETACH = 2


def may_mount() -> bool:
    """Return whether this process may mount a file system."""
    [effective] = re.findall(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return bool(int(effective, 16) & CAP_SYS_ADMIN)


def run_where_it_may_mount(test: str) -> None:
    """Run a test in a process with its own namespaces, in which an ordinary user may mount file systems.

    :param test: the node id of the test.
    """
    namespaces = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
    granted = subprocess.run([*namespaces, "true"], capture_output=True, text=True)
    if granted.returncode:
        pytest.fail(
            "A disk is filled on a small file system: run the tests as root, or where an ordinary user may make a "
            f"user namespace (unshare --user --mount): {granted.stderr.strip()}",
            pytrace=False,
        )
    command = [*namespaces, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@contextlib.contextmanager
def small_file_system() -> Iterator[Path]:
    """Yield a directory on a separate small file system."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open_directory() as path:
        target, options = os.fsencode(path), f"size={SIZE}m,mode=0711".encode()
        assert libc.mount(b"tmpfs", target, b"tmpfs", 0, options) == 0, os.strerror(ctypes.get_errno())
        try:
            yield path
        finally:
            assert libc.umount2(target, MNT_DETACH) == 0, os.strerror(ctypes.get_errno())


def fill(path: Path) -> Path:
    """Fill the file system of *path* to the last block, and return the file to remove."""
    ballast = path / "ballast"
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    os.write(file, bytes(size))
    finally:
        os.close(file)
    return ballast
