"""A bar on standard error that shows how far a long command is, if standard error is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

import click

STEPS = 200
"""That a bar moves in."""

T = TypeVar("T")


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
