"""``agentidp db``, ``agentidp backup`` and ``agentidp restore``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import read_settings
from agentidp.cli.options import flag_option
from agentidp.cli.output import show_activity, show_progress
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.db.distribution import distribute
from agentidp.db.migrations import migrate
from agentidp.http.schemas import timestamp
from agentidp.maintenance.archive import open_archive
from agentidp.maintenance.backup import back_up
from agentidp.maintenance.restore import inspect_target, restore_archive
from agentidp.server.runtime import add_secret_from_file, open_database, refuse_without_data, secret_file

commands = click.Group("db", help="The database's schema.")


@commands.command("migrate")
def migrate_schema() -> None:
    """Bring the schema up to date.

    This is safe at any time, even if several processes do it at once.
    """
    with show_activity("Bringing the schema up to date"), open_database(read_settings()) as runtime:
        applied_migrations = migrate(str(runtime.settings.database_url))
    click.echo("\n".join(applied_migrations) if applied_migrations else "The schema is up to date.")


@commands.command("distribute")
def distribute_tables() -> None:
    """Distribute the tables over the nodes of a Citus cluster.

    The tables are distributed by organization. After an interruption, run the command again to continue. Prints each
    table and function when it is distributed. AGENTIDP_DATABASE_URL must name a superuser of the coordinator. Try the
    command on a copy first.
    """
    settings = read_settings()
    if settings.database_url is None:
        raise ConfigurationError("AGENTIDP_DATABASE_URL must name the coordinator of the Citus cluster and a superuser")
    is_already_distributed = True
    for object_name, object_state in distribute(settings.database_url):
        click.echo(f"{object_name}\t{object_state}")
        is_already_distributed = False
    if is_already_distributed:
        click.echo("Everything is distributed.")


bindir_option = click.option(
    "--bindir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Directory of pg_dump and pg_restore. Default: the embedded PostgreSQL, PATH, or Debian's packages.",
)


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@bindir_option
def back_up_database(file: Path, bindir: Path | None) -> None:
    """Back up the database to FILE, while the service runs. Only your account can read the file.

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
    secret_location = secret_file(settings) if is_secret_in_file else "AGENTIDP_SECRET_KEY"
    click.echo(
        f"A restored service needs the instance secret as well ({secret_location}): without the secret, it cannot "
        "decrypt its signing keys. Keep a copy of the secret apart from the backup."
    )


@click.command("restore")
@require_confirmation
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@flag_option(
    "--clean", "must_clean", "First delete everything in the database. Without --clean, the database must be empty."
)
@bindir_option
def restore_backup(file: Path, must_clean: bool, bindir: Path | None) -> None:
    """Restore the backup FILE into an empty database.

    Stop the service first. The backup is restored in one transaction, and then the schema is brought up to date. With
    --clean, the command deletes the contents of the database, and first asks for the database's name. The settings must
    have the instance secret with which the backup was made.
    """
    settings = _add_secret(read_settings())
    archive = open_archive(file, bindir=bindir, settings=settings)
    with open_database(settings) as runtime:
        target = inspect_target(str(runtime.settings.database_url))
        if not target.is_empty:
            if not must_clean:
                raise ConfigurationError(
                    f"the database {target.name} is not empty. Restore into an empty database, or give --clean to "
                    "delete everything in the database first"
                )
            contents_suffix = "" if target.contents is None else f" ({target.contents})"
            consequences = (
                f"This deletes everything in the database {target.name}{contents_suffix}. Then it restores the backup "
                f"of {timestamp(archive.made_at)}. The deletion cannot be undone."
            )
            confirm(lambda: consequences, name=target.name)
        with show_progress("Restoring") as report_progress:
            restore_result = restore_archive(runtime.settings, archive, target, at=utc_now(), report=report_progress)
    click.echo(f"Restored {restore_result.contents}, from the backup of {timestamp(restore_result.made_at)}.")
    click.echo(
        "Before you start the service, repeat every revocation, suspension and erasure since the backup, because the "
        "restored database does not contain them. Alerts that were waiting at the time of the backup are sent again."
    )
    if restore_result.left_out:
        # The names are escaped, because the author of the backup file could choose any characters.
        table_names = ", ".join(ascii(table_name)[1:-1] for table_name in restore_result.left_out)
        click.echo(f"Tables that do not belong to AgentIdP were not restored: {table_names}.")
    if restore_result.migrations:
        click.echo(f"The schema was brought up to date: {', '.join(restore_result.migrations)}.")


def _add_secret(settings: Settings) -> Settings:
    """Return the settings with the existing instance secret. Create no secret, because a new secret decrypts no key."""
    if settings.secret_key is not None:
        return settings
    allowed_locations = "AGENTIDP_SECRET_KEY or in the file named by AGENTIDP_SECRET_KEY_FILE"
    if settings.database_url is None:
        secret_path = secret_file(settings)
        if secret_path.exists():
            return add_secret_from_file(settings)
        allowed_locations = f"{secret_path}, or in AGENTIDP_SECRET_KEY"
    raise ConfigurationError(
        f"the instance secret of the service that made the backup is missing: set it in {allowed_locations}"
    )
