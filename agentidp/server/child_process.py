"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def start_child(module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a module of this Python.

    It gets a session of its own: Ctrl-C reaches the launcher alone, which stops the parts in their order.

    :param module: its name, and its arguments.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *module],
        env=environment,
        start_new_session=True,
        preexec_fn=_die_with_launcher(os.getpid()),
    )


def stop_child(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Stop a process, if it still runs.

    :param timeout: seconds that it has to end by itself before it is killed.
    """
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_launcher(launcher: int) -> Callable[[], None] | None:
    """On Linux a child gets SIGTERM when the launcher dies, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def arrange() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(1)

    return arrange
