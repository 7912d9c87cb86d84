"""How slow the machine is while a test measures a time, so that no test fails because other programs run beside it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE = 0.01
"""Seconds that the thread beside the test sleeps again and again."""


class Machine:
    """What a thread that only sleeps has met: how long a sleep took on average, by how much the worst was late, and how
    many threads of the whole machine wanted a processor. The kernel soon runs a thread that has slept, so sleeps alone
    do not show how long work takes beside other work.
    """

    def __init__(self) -> None:
        self._slept, self._number, self._worst, self._runnable = 0.0, 0, 0.0, 0
        self._end = threading.Event()

    def watch(self) -> None:
        """Sleep until the end."""
        while not self._end.is_set():
            begin = time.monotonic()
            time.sleep(PAUSE)
            took = time.monotonic() - begin
            self._slept, self._number = self._slept + took, self._number + 1
            self._worst = max(self._worst, took - PAUSE)
            self._runnable += runnable()

    def stop(self) -> None:
        """End the watch."""
        self._end.set()

    def allows(self, seconds: float) -> float:
        """The time in which this machine does what takes *seconds* on an idle one.

        Whoever waits for a request waits for several processes in turn, and each may be as late as the worst.
        """
        if not self._number:
            return seconds
        sleeping = self._slept / self._number / PAUSE
        working = self._runnable / self._number / len(os.sched_getaffinity(0))
        return seconds * max(1.0, sleeping, working) + 4 * self._worst


def runnable() -> int:
    """How many threads of this machine run or wait for a processor."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])


@contextlib.contextmanager
def measured() -> Iterator[Machine]:
    """Watch the machine during a block."""
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
    """Fail if the block takes longer than *seconds*, or than this machine needs for them."""
    with measured() as machine:
        begin = time.monotonic()
        yield
        took = time.monotonic() - begin
    assert took < machine.allows(seconds), f"{took:.2f} s, and {seconds} are allowed"
