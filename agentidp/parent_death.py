"""Lets Linux send a signal to a child process when its parent dies, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def signal_at_parent_death(number: signal.Signals) -> Callable[[], None]:
    """Return a ``preexec_fn`` for a child process, by which the child gets a signal when this process dies.

    Linux also sends the signal when the thread that started the child ends. Other systems never send the signal.
    """
    parent_pid, libc = os.getpid(), ctypes.CDLL(None)

    def arrange() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, number)
            # If the parent died before prctl was called, no signal is sent, so the child ends itself.
            if os.getppid() != parent_pid:
                os._exit(1)

    return arrange
