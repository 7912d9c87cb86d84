"""What a command says on standard error while it works, if that is a terminal: how far it is, or what it is doing."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

import click

STEPS = 200
"""That a bar moves in."""

PATIENCE = 2.0
"""Seconds after which a command says what it is doing."""

T = TypeVar("T")


@contextlib.contextmanager
def saying(what: str) -> Iterator[None]:
    """Say what the command is doing if it takes longer than ``PATIENCE``."""
    timer = threading.Timer(PATIENCE, click.echo, [f"{what} …"], {"err": True})
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[float], None] | None]:
    """What the work calls with the share that is done, from 0 to 1; ``None`` without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=STEPS, file=sys.stderr, label=label) as bar:

        def report(share: float) -> None:
            done = min(int(share * STEPS), STEPS)
            if done > bar.pos:
                bar.update(done - bar.pos)

        yield report
        report(1)


@contextlib.contextmanager
def progress_over(items: Collection[T], label: str) -> Iterator[Iterable[T]]:
    """The items, with a bar that shows how many of them were taken."""
    if not items or not sys.stderr.isatty():
        yield items
        return
    with click.progressbar(items, length=len(items), file=sys.stderr, label=label) as bar:
        yield bar
