"""Shows the progress of a command on standard error if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

import click

STEPS = 200
"""Number of steps in which a progress bar is filled."""

QUIET_SECONDS = 2.0
"""Seconds that an activity must take before :func:`show_activity` prints it."""

T = TypeVar("T")


@contextlib.contextmanager
def show_activity(activity: str) -> Iterator[None]:
    """Print an activity, such as ``Backing up``, if it takes longer than :data:`QUIET_SECONDS`."""
    timer = threading.Timer(QUIET_SECONDS, click.echo, [f"{activity} …"], {"err": True})
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def show_progress(label: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar, and yield a function that sets the bar to a share of the work, from 0 to 1."""
    with click.progressbar(length=STEPS, file=sys.stderr, label=label, hidden=not sys.stderr.isatty()) as progress_bar:

        def report(share: float) -> None:
            new_position = min(int(share * STEPS), STEPS)
            if new_position > progress_bar.pos:
                progress_bar.update(new_position - progress_bar.pos)

        yield report
        report(1)


def track_progress(items: Collection[T], label: str) -> contextlib.AbstractContextManager[Iterable[T]]:
    """Yield the items, and show a progress bar with the share of items that were yielded."""
    return click.progressbar(
        items, length=len(items), file=sys.stderr, label=label, hidden=not items or not sys.stderr.isatty()
    )
