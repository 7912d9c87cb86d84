"""On Linux a child process gets a signal when its parent dies, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def signal_at_parent_death(number: signal.Signals) -> Callable[[], None]:
    """What a child runs before its program, ``preexec_fn``, so that it gets the signal if this process dies.

    Elsewhere than on Linux it does nothing. The signal comes when the thread that started the child ends.
    """
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def arrange() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, number)
            # If the parent died before this call, the signal would never come.
            if os.getppid() != parent:
                os._exit(1)

    return arrange
