"""``agentidp usage``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import find_organization, open_organization
from agentidp.cli.options import as_json_option, flag_option, name_option, organization_option
from agentidp.cli.output import show_object, show_progress, track_progress
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.http.schemas import timestamp
from agentidp.http.text import format_count
from agentidp.registry import organizations
from agentidp.usage_history.exporting import export_usage
from agentidp.usage_history.importing import FORMATS, Imported, ImportRefused, import_usage
from agentidp.usage_history.pruning import MIN_MONTHS, count_tokens_by_day, delete_days, find_first_kept_day
from agentidp.usage_history.records import EARLIEST, Source


def _parse_months(_context: click.Context, _option: click.Parameter, text: str) -> int:
    months_match = re.fullmatch(r"([1-9][0-9]{0,3})months", text)
    if not months_match or int(months_match[1]) < MIN_MONTHS:
        raise click.BadParameter(f"must be at least {MIN_MONTHS} calendar months, for example 25months")
    return int(months_match[1])


commands = click.Group("usage", help="Past usage: import, export, delete.")


@commands.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@organization_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*FORMATS]),
    help="Format of the file. Default: ndjson if the name ends in .ndjson or .jsonl, otherwise csv.",
)
@flag_option("--dry-run", "is_dry_run", "Check the records and print their sums, without importing them.")
@as_json_option
def import_file(path: Path, organization: str, file_format: str | None, is_dry_run: bool, as_json: bool) -> None:
    """Add the usage in FILE to an organization's counters.

    FILE is a path, or - for standard input. A record has the fields time (RFC 3339), agent (id or name) and tokens. A
    record may also have requests (default: the value of tokens) and rejected (default: 0). If one record is wrong, no
    record is added. A file that was imported before adds nothing.
    """
    default_format = "ndjson" if path.suffix in (".ndjson", ".jsonl") else "csv"
    with open_organization(organization) as (services, database), _open_import_source(path) as source:
        try:
            import_result = import_usage(
                str(services.settings.database_url),
                database.organization_id,
                source,
                file_format=file_format or default_format,
                at=database.at,
                is_dry_run=is_dry_run,
            )
        except ImportRefused as refused:
            error_lines = [f"line {line_number}: {broken_rule}" for line_number, broken_rule in refused.problems]
            raise ConfigurationError("\n".join([*error_lines, "nothing was imported"])) from None
    _print_import(import_result, is_dry_run, as_json)


@contextlib.contextmanager
def _open_import_source(path: Path) -> Iterator[Source]:
    """Yield the file to import, and show a progress bar unless the file is standard input."""
    if path == Path("-"):
        yield Source(sys.stdin.buffer)
        return
    file_size, read_size = path.stat().st_size, 0
    with path.open("rb") as file, show_progress("Reading") as report_progress:

        def advance_progress(byte_count: int) -> None:
            nonlocal read_size
            read_size += byte_count
            report_progress(read_size / max(file_size, 1))

        yield Source(file, advance_progress)


def _print_import(import_result: Imported, is_dry_run: bool, as_json: bool) -> None:
    import_members = asdict(import_result)
    import_members |= {name: timestamp(import_members[name]) for name in ("first", "last", "repeats")}
    if as_json:
        show_object(import_members, as_json)
    elif import_result.repeats:
        click.echo(f"This file was imported at {import_members['repeats']}. Nothing was added.")
    else:
        counts_text = ", ".join(
            f"{import_members[name]:,} {name}" for name in ("records", "tokens", "requests", "rejected")
        )
        period_phrase = f" from {import_members['first']} to {import_members['last']}" if import_result.first else ""
        click.echo(f"{'Would import' if is_dry_run else 'Imported'} {counts_text}{period_phrase}.")


@commands.command("export")
@organization_option
@click.option(
    "--from",
    "first",
    type=click.DateTime(["%Y-%m-%d"]),
    help="First UTC day to export. Default: the first day with usage.",
)
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last UTC day to export. Default: today.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*FORMATS]),
    default="csv",
    show_default=True,
    help="Format of the printed records.",
)
def print_usage(organization: str, first: datetime | None, last: datetime | None, file_format: str) -> None:
    """Print an organization's usage in a format that agentidp usage import reads.

    The output has one record per agent and UTC hour with usage.
    """
    with open_organization(organization) as (services, database):
        export_usage(
            str(services.settings.database_url),
            database.organization_id,
            sys.stdout.buffer,
            file_format=file_format,
            first=(first or EARLIEST).date(),
            last=(last or database.at.astimezone(UTC)).date(),
            at=database.at,
        )


@commands.command("prune")
@require_confirmation
@click.option(
    "--keep",
    "months",
    callback=_parse_months,
    required=True,
    metavar="N'months'",
    help="Number of calendar months to keep, including the current month, for example 25months.",
)
@name_option("--organization", "Organization whose usage is deleted. Default: all organizations.")
@flag_option("--dry-run", "is_dry_run", "Print what the command would delete, without deleting anything.")
def prune_usage(months: int, organization: str | None, is_dry_run: bool) -> None:
    """Delete usage that is older than a number of calendar months.

    The usage is deleted day by day, so the command can be interrupted. Deletion cannot be undone, so export the usage
    first.
    """
    now = utc_now()
    first_kept_day = find_first_kept_day(months, now)
    with open_services() as services:
        database_url = str(services.settings.database_url)
        if organization is not None:
            organization_ids = [find_organization(services, organization).organization_id]
        else:
            organization_ids = [
                organization_row.organization_id for organization_row in organizations.list_organizations(database_url)
            ]
        tokens_by_organization = {
            organization_id: count_tokens_by_day(database_url, organization_id, first_kept=first_kept_day, at=now)
            for organization_id in organization_ids
        }

        if not is_dry_run:
            confirm(lambda: _describe_deletion([*filter(None, tokens_by_organization.values())], first_kept_day))
        deletion_phrase = "would be deleted" if is_dry_run else "deleted"
        for organization_id, tokens_by_day in tokens_by_organization.items():
            if not is_dry_run:
                with track_progress(tokens_by_day, organization_id) as tracked_days:
                    delete_days(database_url, organization_id, tracked_days, first_kept=first_kept_day, at=now)
            click.echo(f"{organization_id}\t{len(tokens_by_day)} days before {first_kept_day} {deletion_phrase}")


def _describe_deletion(deleted_usage: list[dict[date, int]], first_kept_day: date) -> str:
    """Return sentences about the usage that will be deleted. *deleted_usage* has tokens by day, per organization."""
    day_count = sum(map(len, deleted_usage))
    token_count = sum(sum(tokens_by_day.values()) for tokens_by_day in deleted_usage)
    return (
        f"This deletes the usage of {format_count(day_count, 'day')} before {first_kept_day} of "
        f"{format_count(len(deleted_usage), 'organization')}: {format_count(token_count, 'token')}. Deleted "
        "usage cannot be restored, so export the usage first (agentidp usage export)."
    )
