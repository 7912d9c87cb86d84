"""How commands print: JSON, or lines of tab-separated values."""

from __future__ import annotations

import json
from typing import Any

import click


def show(rows: list[dict[str, Any]], as_json: bool, *, one: bool = False) -> None:
    """Print rows as JSON, or as lines of tab-separated values.

    :param one: print a JSON object and not a list, because the command always prints exactly one row.
    """
    if as_json:
        click.echo(json.dumps(rows[0] if one else rows, ensure_ascii=False))
        return
    for row in rows:
        click.echo("\t".join(cell(value) for value in row.values()))


def cell(value: object) -> str:
    """A value as text; ``-`` if there is none."""
    if isinstance(value, list):
        return " ".join(value)
    return "-" if value is None else str(value)
