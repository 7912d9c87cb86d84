"""How slow the machine is while a test measures a time, so that no test fails because other programs run beside it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

PAUSE = 0.01
"""Seconds that the thread beside the test sleeps again and again."""


class Machine:
    """What a thread that only sleeps has met: how long a sleep took on average, and by how much the worst was late."""

    def __init__(self) -> None:
        self._slept, self._number, self._worst = 0.0, 0, 0.0
        self._end = threading.Event()

    def watch(self) -> None:
        """Sleep until the end."""
        while not self._end.is_set():
            begin = time.monotonic()
            time.sleep(PAUSE)
            took = time.monotonic() - begin
            self._slept, self._number = self._slept + took, self._number + 1
            self._worst = max(self._worst, took - PAUSE)

    def stop(self) -> None:
        """End the watch."""
        self._end.set()

    def allows(self, seconds: float) -> float:
        """The time in which this machine does what takes *seconds* on an idle one.

        Whoever waits for a request waits for several processes in turn, and each may be as late as the worst.
        """
        mean = self._slept / self._number / PAUSE if self._number else 1.0
        return seconds * max(1.0, mean) + 4 * self._worst


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
