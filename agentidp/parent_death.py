"""Lets Linux send a signal to a child process when its parent dies, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def signal_at_parent_death(number: signal.Signals) -> Callable[[], None]:
    """Return a ``preexec_fn`` that makes a child process get a signal when this process dies.

    The signal is already sent when the thread ends that has started the child. On systems other than Linux, the
    function does nothing.
    """
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def arrange() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, number)
            # If the parent died before prctl was called, the signal will never come, so the child ends here.
            if os.getppid() != parent:
                os._exit(1)

    return arrange
