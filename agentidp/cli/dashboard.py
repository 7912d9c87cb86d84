"""``agentidp dashboard``."""

from __future__ import annotations

from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import agent_or_operator
from agentidp.clock import utc_now
from agentidp.dashboard import link


@click.command("dashboard")
@click.option("--agent", "agent_id", type=click.UUID, metavar="ID", help="As this agent. Default: the demo's operator.")
def command(agent_id: UUID | None) -> None:
    """Print a link that signs in to the dashboard once, within a few minutes; it is counted as a token issued."""
    with opened() as services:
        signs_in = link.new_link(services, *agent_or_operator(services, agent_id), utc_now())
    click.echo(signs_in)
