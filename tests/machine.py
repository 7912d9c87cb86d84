"""How slow the machine is while a test measures a time, so that no test fails because other programs run beside it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE = 0.01
"""Seconds of each sleep of the thread that watches the machine."""


class Machine:
    """Measures the load of the machine by a thread that only sleeps: the average length of a sleep, the longest delay,
    and the number of threads of the whole machine that wanted a processor. This number is needed, because the kernel
    soon runs a thread that has slept, even if threads that compute wait for a processor.
    """

    def __init__(self) -> None:
        self._slept, self._number, self._worst, self._runnable = 0.0, 0, 0.0, 0
        self._end = threading.Event()

    def watch(self) -> None:
        """Measure sleeps until :meth:`stop` is called."""
        while not self._end.is_set():
            begin = time.monotonic()
            time.sleep(PAUSE)
            took = time.monotonic() - begin
            self._slept, self._number = self._slept + took, self._number + 1
            self._worst = max(self._worst, took - PAUSE)
            self._runnable += runnable()

    def stop(self) -> None:
        """End the measurement."""
        self._end.set()

    def allows(self, seconds: float) -> float:
        """Return the maximum time that work of *seconds* on an idle machine may take on this machine.

        A request waits for several processes in turn, and each of them may be as late as the worst sleep.
        """
        if not self._number:
            return seconds
        sleeping = self._slept / self._number / PAUSE
        working = self._runnable / self._number / len(os.sched_getaffinity(0))
        return seconds * max(1.0, sleeping, working) + 4 * self._worst


def runnable() -> int:
    """Return the number of threads of this machine that run or wait for a processor."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])


@contextlib.contextmanager
def measured() -> Iterator[Machine]:
    """Measure the load of the machine during the ``with`` block."""
    machine = Machine()
    thread = threading.Thread(target=machine.watch, daemon=True)
    thread.start()
    try:
        yield machine
    finally:
        machine.stop()
        thread.join()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the ``with`` block takes longer than *seconds*, or than the time that a busy machine is allowed."""
    with measured() as machine:
        begin = time.monotonic()
        yield
        took = time.monotonic() - begin
    assert took < machine.allows(seconds), f"{took:.2f} s, and {seconds} are allowed"
