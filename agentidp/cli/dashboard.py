"""``agentidp dashboard``."""

from __future__ import annotations

from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import organization_of
from agentidp.clock import utc_now
from agentidp.dashboard import link
from agentidp.demo import OPERATOR_ID


@click.command("dashboard")
@click.option("--agent", "agent_id", type=click.UUID, metavar="ID", help="As this agent. Default: the demo's operator.")
def command(agent_id: UUID | None) -> None:
    """Print a link that signs in to the dashboard once, within 5 minutes; it is counted as a token issued."""
    agent_id = agent_id or OPERATOR_ID
    with opened() as services:
        signs_in = link.new_link(services, organization_of(services, agent_id), agent_id, utc_now())
    click.echo(signs_in)
