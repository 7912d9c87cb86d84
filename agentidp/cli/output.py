"""Prints rows (:func:`show`), and sentences that may contain text of an organization or a token (:func:`say`).

- On a terminal, a list is a table with headings and short times, and a single object has one labelled line per value.
- In a pipe or file, each row is a line of tab-separated values, in the order of the members.
- With ``--json``, the output is JSON.

Both functions escape characters that could manipulate a terminal, because anybody can choose names and tokens, and
stored names can be older than the checks of :mod:`agentidp.http.text`.

Commands pass dicts with the names of our JSON (``agentId``, ``createdAt``), from which headings and labels are derived.
Members that only programs need are not in ``columns``.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import click

from agentidp.http.schemas import words_of
from agentidp.http.text import printable

MAX_WORDS = 40
"""Maximum characters of a text with spaces in any column but the last. IDs and identifiers are never cut."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z")


def show(
    rows: list[dict[str, Any]],
    as_json: bool,
    *,
    one: bool = False,
    columns: Sequence[str] = (),
    only_now: Sequence[str] = (),
) -> None:
    """Print rows for a person, a pipe or a program.

    :param one: print the only row as an object instead of a list.
    :param columns: the members in a table on a terminal. None means all members.
    :param only_now: members that no command can show again. On a terminal, the user is warned.
    """
    if as_json:
        click.echo(printable(json.dumps(rows[0] if one else rows, ensure_ascii=False)))
    elif not is_terminal() or (one and len(rows[0]) == 1):
        for row in rows:
            click.echo("\t".join(cell(value) for value in row.values()))
    elif one:
        _show_values(rows[0], [name for name in only_now if rows[0].get(name) is not None])
    elif rows:
        _show_table(rows, columns or [*rows[0]])
    else:
        click.echo("There are none.", err=True)


def say(text: str, *, err: bool = False) -> None:
    """Print lines of text that may contain names and claims.

    :param err: print to standard error.
    """
    click.echo(printable(text, is_multiline=True), err=err)


def warn(warnings: Sequence[str]) -> None:
    """Print warnings to standard error, so that programs can still read standard output."""
    for warning in warnings:
        say(f"Warning: {warning}", err=True)


def cell(value: object) -> str:
    """Return a value as one line of text, or ``-`` for None."""
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


def _show_values(row: dict[str, Any], only_now: list[str]) -> None:
    labels = {name: f"{_words(name)[:1].upper()}{_words(name)[1:]}:" for name in row}
    width = max(map(len, labels.values()))
    for name, value in row.items():
        click.echo(f"{labels[name]:<{width}}  {_short(value)}".rstrip())
    for name in only_now:
        click.echo(
            f"The {_words(name)} is shown only now: keep it where only the agent or service that needs it reads it."
        )


def _show_table(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    *others, last = columns
    lines = [[*(_words(name).upper() for name in columns)]]
    lines += [[*(_cut(_short(row[name])) for name in others), _short(row[last])] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _words(name: str) -> str:
    """Convert the name of a JSON member to words: ``agentId`` becomes ``agent id``."""
    return words_of(name).replace("dpop", "DPoP")


def _short(value: object) -> str:
    """Return a value as one line of text for people. Times are truncated to the minute."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = cell(value.replace("\n", " ") if isinstance(value, str) else value)
    return "/".join(_TIME.sub(r"\1 \2Z", part) for part in text.split("/")) if _is_time(text) else text


def _is_time(text: str) -> bool:
    return all(_TIME.fullmatch(part) for part in text.split("/"))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WORDS or " " not in text else f"{text[: MAX_WORDS - 1]}…"


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
