"""``agentidp check``."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path

import click

from agentidp.cli.options import WholeNumber, as_json_option, flag_option
from agentidp.cli.output import show, show_activity
from agentidp.clock import utc_now
from agentidp.maintenance.check import check_instance
from agentidp.maintenance.result import FAILED, WARNING

WARNED = 3
"""Exit code with ``--strict`` if a check warns and no check fails. Click uses exit code 2 for wrong usage."""


@click.command("check")
@click.option(
    "--backups",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Directory of backups. The newest backup must not be older than --backup-hours.",
)
@click.option(
    "--backup-hours",
    type=WholeNumber(1, 10_000),
    default=26,
    show_default=True,
    metavar="HOURS",
    help="Maximum age of the newest backup in hours.",
)
@flag_option("--strict", "is_strict", f"End with exit code {WARNED} if a check warns and no check fails.")
@as_json_option
def run_checks(backups: Path | None, backup_hours: int, is_strict: bool, as_json: bool) -> None:
    """Check an instance's settings, database, keys, clock, backups and more, and print advice.

    The command changes nothing. Prints per check: ok, warning or failed; the name of the check; the result. The exit
    code is 1 if a check failed. If checks only warned, the exit code is 0, or 3 with --strict.
    """
    # The command prints each problem as the result of a check, so problems are not logged as well.
    logging.disable(logging.CRITICAL)
    try:
        max_backup_age = timedelta(hours=backup_hours)
        with show_activity("Checking settings, database and keys"):
            results = list(check_instance(os.environ, utc_now(), backups=backups, maximum_age=max_backup_age))
    finally:
        logging.disable(logging.NOTSET)
    show([{"status": result.status, "check": result.check, "message": result.message} for result in results], as_json)
    statuses = {result.status for result in results}
    if FAILED in statuses:
        raise SystemExit(1)
    if is_strict and WARNING in statuses:
        raise SystemExit(WARNED)
