"""``agentidp usage``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import organization_named
from agentidp.cli.options import as_json_option, organization_option
from agentidp.cli.output import show
from agentidp.cli.progress import progress, progress_over
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.http.schemas import timestamp
from agentidp.registry import organizations
from agentidp.usage_history.exporting import export_usage
from agentidp.usage_history.importing import FORMATS, Imported, ImportRefused, import_usage
from agentidp.usage_history.pruning import MIN_MONTHS, counted_days, delete_days, first_kept_day
from agentidp.usage_history.records import EARLIEST, Source

format_option = click.option(
    "--format",
    "file_format",
    type=click.Choice([*FORMATS]),
    help="Of the file. Without it: ndjson for a name that ends in .ndjson or .jsonl, csv for any other.",
)


class Months(click.ParamType[int]):
    """A number of calendar months, such as ``25months``."""

    name = "months"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of months."""
        found = re.fullmatch(r"([1-9][0-9]{0,3})months", str(value))
        if not found or int(found[1]) < MIN_MONTHS:
            self.fail(f"must be a number of months from {MIN_MONTHS}, for example 25months", param, ctx)
        return int(found[1])


@click.group("usage")
def commands() -> None:
    """Past usage: import, export, delete."""


@commands.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@organization_option
@format_option
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Check and sum the records, and add nothing.")
@as_json_option
def import_(path: Path, organization: str, file_format: str | None, is_dry_run: bool, as_json: bool) -> None:
    """Add the usage in FILE to an organization's counters.

    FILE is a path, or - for standard input. A record has time (RFC 3339), agent (id or name) and tokens, and may have
    requests (default: the value of tokens) and rejected (default: 0). Either all records are added or none. A file that
    was imported before adds nothing.
    """
    with opened() as services, _open(path) as (file, size), _reading(size) as advance:
        organization_id = organization_named(services, organization).organization_id
        source = Source(file, advance)
        try:
            imported = import_usage(
                str(services.settings.database_url),
                organization_id,
                source,
                file_format=file_format or _format_of(path),
                at=utc_now(),
                is_dry_run=is_dry_run,
            )
        except ImportRefused as refused:
            lines = [f"line {line}: {rule}" for line, rule in refused.problems]
            raise ConfigurationError("\n".join([*lines, "nothing was imported"])) from None
    _report(imported, is_dry_run, as_json)


def _format_of(path: Path) -> str:
    return "ndjson" if path.suffix in (".ndjson", ".jsonl") else "csv"


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    if path == Path("-"):
        yield sys.stdin.buffer, 0
    else:
        with path.open("rb") as file:
            yield file, path.stat().st_size


@contextlib.contextmanager
def _reading(size: int) -> Iterator[Callable[[int], None] | None]:
    """Yield a function to call with the number of bytes read. None if the size is unknown, or without a terminal."""
    if not size:
        yield None
        return
    done = 0
    with progress("Reading") as report:

        def advance(read: int) -> None:
            nonlocal done
            done += read
            if report:
                report(done / size)

        yield advance


def _report(imported: Imported, is_dry_run: bool, as_json: bool) -> None:
    found = asdict(imported)
    for name in ("first", "last", "repeats"):
        found[name] = timestamp(found[name])
    if as_json:
        show([found], as_json, one=True)
        return
    if imported.repeats:
        click.echo(f"This file was imported at {found['repeats']}. Nothing was added.")
        return
    counts = ", ".join(f"{found[name]:,} {name}" for name in ("records", "tokens", "requests", "rejected"))
    reach = f" from {found['first']} to {found['last']}" if imported.first else ""
    click.echo(f"{'Would import' if is_dry_run else 'Imported'} {counts}{reach}.")


@commands.command("export")
@organization_option
@click.option(
    "--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first UTC day. Default: the first of all."
)
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last UTC day. Default: today.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*FORMATS]),
    default="csv",
    show_default=True,
    help="What is printed.",
)
def export(organization: str, first: datetime | None, last: datetime | None, file_format: str) -> None:
    """Print an organization's usage, in the format of agentidp usage import.

    The output has one record per agent and UTC hour.
    """
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        at = utc_now()
        export_usage(
            str(services.settings.database_url),
            organization_id,
            sys.stdout.buffer,
            file_format=file_format,
            first=(first or EARLIEST).date(),
            last=last.date() if last else at.astimezone(UTC).date(),
            at=at,
        )


@commands.command("prune")
@asks_first
@click.option(
    "--keep",
    "months",
    type=Months(),
    required=True,
    metavar="N'months'",
    help="For example 25months, this one included.",
)
@click.option("--organization", metavar="ID|NAME", help="Only of this organization. Default: of all.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Print what would be deleted, and delete nothing.")
def prune(months: int, organization: str | None, is_dry_run: bool) -> None:
    """Delete usage that is older than a number of calendar months.

    The usage is deleted day by day, so the command can be interrupted. Deletion cannot be undone, so export the usage
    first.
    """
    at = utc_now()
    before = first_kept_day(months, at)
    with opened() as services:
        url = str(services.settings.database_url)
        if organization is not None:
            ids = [organization_named(services, organization).organization_id]
        else:
            ids = [row.organization_id for row in organizations.all_organizations(url)]
        found = {one: counted_days(url, one, before=before, at=at) for one in ids}
        if is_dry_run:
            for one, days in found.items():
                click.echo(f"{one}\t{len(days)} days before {before} would be deleted")
            return
        confirm(lambda: _consequences([*found.values()], before))
        for one, days in found.items():
            with progress_over(days, one) as shown:
                delete_days(url, one, shown, before=before, at=at)
            click.echo(f"{one}\t{len(days)} days before {before} deleted")


def _consequences(found: list[dict[date, int]], before: date) -> str:
    days, tokens = sum(map(len, found)), sum(sum(of_one.values()) for of_one in found)
    return (
        f"This deletes the usage of {count(days, 'day')} before {before} of "
        f"{count(sum(map(bool, found)), 'organization')}: {count(tokens, 'token')}. "
        "This cannot be undone: export the usage first (agentidp usage export)."
    )
