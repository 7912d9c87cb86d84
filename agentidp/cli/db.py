"""``agentidp db``."""

from __future__ import annotations

import click

from agentidp.cli.context import read_settings
from agentidp.cli.output import show_activity
from agentidp.config import ConfigurationError
from agentidp.db.distribution import distribute
from agentidp.db.migrations import migrate
from agentidp.server.runtime import open_database

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
    is_done = True
    for object_name, object_state in distribute(settings.database_url):
        click.echo(f"{object_name}\t{object_state}")
        is_done = False
    if is_done:
        click.echo("Everything is distributed.")
