"""``agentidp db``."""

from __future__ import annotations

import click

from agentidp.cli.context import refusals, settings_of_command
from agentidp.cli.progress import saying
from agentidp.config import ConfigurationError
from agentidp.db.distribution import distribute
from agentidp.db.migrations import migrate
from agentidp.server.runtime import located


@click.group("db")
def commands() -> None:
    """The database's schema."""


@commands.command("migrate")
def migrate_() -> None:
    """Bring the schema up to date.

    This is safe at any time, even if several processes do it at once.
    """
    with refusals():
        settings = settings_of_command()
        with saying("Bringing the schema up to date"), located(settings) as runtime:
            applied = migrate(str(runtime.settings.database_url))
    click.echo("\n".join(applied) if applied else "The schema is up to date.")


@commands.command("distribute")
def distribute_() -> None:
    """Distribute the tables over the nodes of a Citus cluster.

    The tables are distributed by organization. After an interruption, run the command again to continue. Prints each
    table and function when it is distributed. AGENTIDP_DATABASE_URL must name a superuser of the coordinator. Try the
    command on a copy first.
    """
    with refusals():
        settings = settings_of_command()
        if settings.database_url is None:
            raise ConfigurationError("AGENTIDP_DATABASE_URL must name Citus's coordinator, as a superuser")
        is_done = True
        for name, is_now in distribute(settings.database_url):
            click.echo(f"{name}\t{is_now}")
            is_done = False
    if is_done:
        click.echo("Everything is distributed.")
