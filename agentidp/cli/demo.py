"""``agentidp demo``."""

from __future__ import annotations

import click

from agentidp import demo
from agentidp.cli.context import open_services
from agentidp.cli.progress import show_activity
from agentidp.clock import utc_now


@click.command("demo")
def create_demo_organization() -> None:
    """Create the demo organization, unless it exists.

    It has 24 agents and 90 days of traffic.
    """
    with (
        open_services(may_be_first=True) as services,
        show_activity("Creating the demo organization: 24 agents and 90 days of traffic"),
    ):
        is_new = demo.create_demo(str(services.settings.database_url), services.database, utc_now())
    click.echo(f"{'Made' if is_new else 'There already is'} the demo organization {demo.ORGANIZATION_ID}.")
