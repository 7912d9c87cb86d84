"""``agentidp backup``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from agentidp.cli.context import read_settings
from agentidp.cli.options import bindir_option
from agentidp.cli.progress import show_progress
from agentidp.maintenance.backup import back_up
from agentidp.server.runtime import open_database, refuse_without_data, secret_file


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@bindir_option
def back_up_database(file: Path, bindir: Path | None) -> None:
    """Back up the database to FILE, while the service runs. Nobody else can read the file.

    The file is in pg_dump's custom format. If the backup fails, no file is written. AGENTIDP_DATABASE_URL must name a
    role to which row-level security does not apply. The instance secret is not in the backup.
    """
    # SIGTERM raises SystemExit, so that an unfinished backup file is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = read_settings()
    refuse_without_data(settings)
    with open_database(settings) as runtime, show_progress("Backing up") as report_progress:
        database_url = str(runtime.settings.database_url)
        content_summary = back_up(database_url, file, bindir=bindir, settings=settings, report=report_progress)
    click.echo(f"Backed up {content_summary} to {file} ({file.stat().st_size:,} bytes).")
    is_secret_in_file = settings.database_url is None and settings.secret_key is None
    secret_place = secret_file(settings) if is_secret_in_file else "AGENTIDP_SECRET_KEY"
    click.echo(
        f"A restored service needs the instance secret as well ({secret_place}): without the secret, it cannot decrypt "
        "its signing keys. Keep a copy of the secret apart from the backup."
    )
