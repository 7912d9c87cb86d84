"""Prints rows (:func:`show`), text (:func:`print_text`), and the progress of a command.

- On a terminal, a list is a table with headings and short times, and a single object has one labelled line per value.
- In a pipe or file, each row is a line of tab-separated values, in the order of the members.
- With ``--json``, the output is JSON.

The first two functions escape characters that could manipulate a terminal, because anybody can choose names and tokens.
Headings and labels are derived from the names of JSON members, such as ``createdAt``.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click

from agentidp.http.schemas import words_of
from agentidp.http.text import printable

MAX_CELL_LENGTH = 40
"""Maximum characters of a table cell. Cells without spaces, such as IDs, and the last column are never cut."""

STEPS = 200
"""Number of steps in which a progress bar is filled."""

QUIET_SECONDS = 2.0
"""Seconds that an activity must take before :func:`show_activity` prints it."""

T = TypeVar("T")

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z")


def show(
    rows: list[dict[str, Any]], as_json: bool, *, members: Sequence[str] = (), columns: Sequence[str] = ()
) -> None:
    """Print a list: a table on a terminal, bare rows in a pipe, or JSON.

    :param members: the members that are printed without ``--json``. Empty means all members.
    :param columns: the members that a terminal shows. Empty means all members that are printed.
    """
    shown_rows = [_select_members(row, members) for row in rows]
    if as_json:
        click.echo(printable(json.dumps(rows, ensure_ascii=False)))
    elif not is_terminal():
        for row in shown_rows:
            click.echo("\t".join(map(format_cell, row.values())))
    elif shown_rows:
        _show_table(shown_rows, columns or [*shown_rows[0]])
    else:
        click.echo("There are none.", err=True)


def show_object(
    row: dict[str, Any], as_json: bool, *, members: Sequence[str] = (), shown_once: str | None = None
) -> None:
    """Print a single object: words on a terminal, bare values in a pipe, or JSON.

    :param members: the members that are printed without ``--json``. Empty means all members.
    :param shown_once: the name of a member that no command can show again. A terminal gets a warning about it.
    """
    shown_row = _select_members(row, members)
    if as_json:
        click.echo(printable(json.dumps(row, ensure_ascii=False)))
    elif not is_terminal() or len(shown_row) == 1:
        click.echo("\t".join(map(format_cell, shown_row.values())))
    else:
        labels = [f"{_to_words(member_name)[:1].upper()}{_to_words(member_name)[1:]}:" for member_name in shown_row]
        label_width = max(map(len, labels))
        for label, member_value in zip(labels, shown_row.values(), strict=True):
            click.echo(f"{label:<{label_width}}  {_format_for_people(member_value)}".rstrip())
        if shown_once and shown_row.get(shown_once) is not None:
            click.echo(
                f"The {_to_words(shown_once)} is not shown again. Store it where only the agent or service that needs "
                "it can read it."
            )


def _select_members(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row.get(name) for name in names} if names else row


def print_text(text: str, *, err: bool = False) -> None:
    """Print text to standard output or standard error (*err*). Characters that manipulate terminals are escaped."""
    click.echo(printable(text, is_multiline=True), err=err)


def warn(warnings: Sequence[str]) -> None:
    """Print warnings to standard error, so that standard output has only the data that programs read."""
    for warning in warnings:
        print_text(f"Warning: {warning}", err=True)


def format_cell(value: object) -> str:
    """Return a value as one line for programs. None becomes ``-``."""
    if isinstance(value, list):
        text = " ".join(value)
    elif isinstance(value, dict | bool):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = "-" if value is None else str(value)
    return printable(text)


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


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


def _show_table(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    *cut_columns, last_column = columns
    table_lines = [[_to_words(column).upper() for column in columns]]
    for row in rows:
        cut_cells = [_truncate(_format_for_people(row[column])) for column in cut_columns]
        table_lines.append([*cut_cells, _format_for_people(row[last_column])])
    column_widths = [max(map(_measure_width, column_cells)) for column_cells in zip(*table_lines, strict=True)]
    for table_line in table_lines:
        click.echo("  ".join(map(_pad, table_line, column_widths)).rstrip())


def _to_words(name: str) -> str:
    """Convert the name of a JSON member to words: ``agentId`` becomes ``agent id``."""
    return words_of(name).replace("dpop", "DPoP")


def _format_for_people(value: object) -> str:
    """Return a value as one line for people. Times are truncated to the minute."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    full_text = format_cell(value.replace("\n", " ") if isinstance(value, str) else value)
    time_matches = [_TIME.fullmatch(time_text) for time_text in full_text.split("/")]
    short_times = [f"{time_match[1]} {time_match[2]}Z" for time_match in time_matches if time_match]
    return "/".join(short_times) if all(time_matches) else full_text


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_CELL_LENGTH or " " not in text else f"{text[: MAX_CELL_LENGTH - 1]}…"


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _measure_width(text))


def _measure_width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
