"""``agentidp dashboard``."""

from __future__ import annotations

import click

from agentidp.cli.context import opened
from agentidp.cli.named import agent_or_operator
from agentidp.clock import utc_now
from agentidp.dashboard import link


@click.command("dashboard")
@click.option("--agent", metavar="ID|NAME", help="As this agent. Default: the demo's operator.")
def command(agent: str | None) -> None:
    """Print a link that signs in to the dashboard once. The link expires after a few minutes."""
    with opened() as services:
        signs_in = link.new_link(services, *agent_or_operator(services, agent), utc_now())
    click.echo(signs_in)
