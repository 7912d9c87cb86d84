"""``agentidp usage``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
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
        """Parse the option."""
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
def import_(path: Path, organization_id: str, file_format: str | None, is_dry_run: bool, as_json: bool) -> None:
    """Add the records in FILE to an organization's counters; - is standard input.

    A record has time (RFC 3339), agent (id or name) and tokens, and may have requests (by default as many as tokens)
    and rejected (0). All records are added or none. A file that was imported before adds nothing.
    """
    with opened() as services, _open(path) as (file, size), _progress(size) as advance:
        organization_named(services, organization_id)
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
            raise click.ClickException("\n".join([*lines, "nothing was imported"])) from None
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
def _progress(size: int) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on a terminal, if the size is known."""
    if not size or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=size, file=sys.stderr, label="Reading", update_min_steps=size // 200) as bar:
        yield bar.update


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
def export(organization_id: str, first: datetime | None, last: datetime | None, file_format: str) -> None:
    """Print an organization's usage, a record for each agent and UTC hour, as import reads it."""
    with opened() as services:
        organization_named(services, organization_id)
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
@click.option(
    "--keep",
    "months",
    type=Months(),
    required=True,
    metavar="N'months'",
    help="For example 25months, this one included.",
)
@click.option("--organization", "organization_id", metavar="ID", help="Only of this organization. Default: of all.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Print what would be deleted, and delete nothing.")
def prune(months: int, organization_id: str | None, is_dry_run: bool) -> None:
    """Delete the usage of days that are older than a number of calendar months.

    It deletes a day at a time, so it can be interrupted. Deleted usage is gone: export it first.
    """
    at = utc_now()
    before = first_kept_day(months, at)
    with opened() as services:
        url = str(services.settings.database_url)
        if organization_id is not None:
            organization_named(services, organization_id)
            ids = [organization_id]
        else:
            ids = [row.organization_id for row in organizations.all_organizations(url)]
        for one in ids:
            days = counted_days(url, one, before=before, at=at)
            if is_dry_run:
                click.echo(f"{one}\t{len(days)} days before {before} would be deleted")
                continue
            with _days_with_progress(days, one) as shown:
                delete_days(url, one, shown, before=before, at=at)
            click.echo(f"{one}\t{len(days)} days before {before} deleted")


@contextlib.contextmanager
def _days_with_progress(days: list[date], label: str) -> Iterator[Iterable[date]]:
    """The days, with a progress bar on a terminal."""
    if not days or not sys.stderr.isatty():
        yield days
        return
    with click.progressbar(days, file=sys.stderr, label=label) as bar:
        yield bar
