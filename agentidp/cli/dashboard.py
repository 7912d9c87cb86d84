"""``agentidp dashboard``."""

from __future__ import annotations

import click

from agentidp.cli.context import open_services
from agentidp.cli.lookup import find_agent_or_operator
from agentidp.clock import utc_now
from agentidp.dashboard import link


@click.command("dashboard")
@click.option("--agent", metavar="ID|NAME", help="Agent that the link signs in as. Default: the demo's operator.")
def print_sign_in_link(agent: str | None) -> None:
    """Print a link that signs in to the dashboard once. The link expires after a few minutes."""
    with open_services() as services:
        sign_in_link = link.create_link(services, *find_agent_or_operator(services, agent), utc_now())
    click.echo(sign_in_link)
