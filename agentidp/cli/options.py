"""Options that several commands have. :mod:`agentidp.cli.named` finds what they name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path

import click


def moment(text: str) -> datetime:
    """An option's instant: a day, which is taken for its beginning in UTC, or a date and time with a time zone."""
    with contextlib.suppress(ValueError, OverflowError):
        if len(text) == len("2026-04-15"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise click.BadParameter("must be a day (2026-04-15), or a date and time with a time zone (2026-04-15T12:00:00Z)")


def number_or_none(least: int, most: int) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """The callback of an option that is a number or ``none``, which is 0: ``None`` says that the option is left out."""

    def parsed(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
        if text is None or text == "none":
            return None if text is None else 0
        digits = text if text.isascii() and text.isdecimal() and len(text) < 9 else "-1"
        if not least <= int(digits) <= most:
            raise click.BadParameter(f"must be a whole number from {least} to {most}, or none")
        return int(digits)

    return parsed


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
organization_argument = click.argument("organization", metavar="ID|NAME")
organization_option = click.option(
    "--organization", required=True, metavar="ID|NAME", help="The organization's id (org-…), or its name."
)
agent_option = click.option(
    "--agent", required=True, metavar="ID|NAME", help="The agent's id, its client_id, or its name."
)
bindir_option = click.option(
    "--bindir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Of pg_dump and pg_restore. Default: those of the embedded PostgreSQL, on PATH or of Debian's packages.",
)
