"""``agentidp serve``, ``agentidp watch`` and ``agentidp demo``."""

from __future__ import annotations

import contextlib
import logging.config
import os
import signal
import sys
import threading
from pathlib import Path

import click

from agentidp import demo
from agentidp.actor import find_operator
from agentidp.cli.context import open_services, read_settings
from agentidp.cli.lookup import find_agent_or_operator
from agentidp.cli.options import flag_option
from agentidp.cli.output import show_activity
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.dashboard import link
from agentidp.db.errors import DatabaseUnavailable
from agentidp.http.errors import ApiError, OAuthError
from agentidp.http.logs import build_logging_config
from agentidp.registry import organizations
from agentidp.server import serve
from agentidp.server.runtime import Runtime
from agentidp.server.watch import watch
from agentidp.server.welcome import format_demo_welcome, format_empty_welcome
from agentidp.services import Services


@click.command("serve")
@click.option(
    "--bind",
    metavar="ADDRESS",
    help="Address to listen at: address:port or unix:path. Default: 127.0.0.1 and the port in the setting PORT.",
)
@flag_option("--demo", "has_demo", "Create the demo organization before the start, unless it exists.")
def run_service(bind: str | None, has_demo: bool) -> None:
    """Run the service until Ctrl-C or SIGTERM."""

    def create_demo(runtime: Runtime) -> None:
        if has_demo:
            with contextlib.closing(Services.of(runtime.settings, utc_now, actor=find_operator())) as services:
                demo.create_demo(str(runtime.settings.database_url), services.database, utc_now())

    def print_welcome(runtime: Runtime) -> None:
        click.echo(f"AgentIdP runs at {runtime.settings.issuer}")
        # The printed examples of commands begin with the path or name by which the user called agentidp.
        program = sys.argv[0] if Path(sys.argv[0]).name == "agentidp" else "agentidp"
        if has_demo:
            # The link is a secret. It is only printed to a terminal, because other standard output may be a log.
            sign_in_link = _create_demo_link(runtime) if sys.stdout.isatty() else None
            click.echo(format_demo_welcome(runtime.settings, link=sign_in_link, program=program, environ=os.environ))
        elif not organizations.list_organizations(str(runtime.settings.database_url)):
            click.echo(format_empty_welcome(program=program, environ=os.environ))

    if sys.stderr.isatty():
        click.echo(
            "Starting AgentIdP. The first start takes some seconds longer, because the database is created.", err=True
        )
    raise SystemExit(serve.serve(read_settings(), bind=bind, prepare=create_demo, announce=print_welcome))


def _create_demo_link(runtime: Runtime) -> str | None:
    """Return a link that signs in as the operator of the demo organization; None if the operator is suspended."""
    with contextlib.closing(Services.of(runtime.settings, utc_now, actor=find_operator())) as services:
        try:
            return link.create_link(services, *find_agent_or_operator(services, None), utc_now())
        except (ConfigurationError, DatabaseUnavailable, ApiError, OAuthError):
            return None


@click.command("watch")
@flag_option("--once", "once", "Evaluate the findings of each organization once and end, for example in a cron job.")
def run_watch(once: bool) -> None:
    """Evaluate findings and send alerts, until SIGTERM.

    The findings of every organization are evaluated every AGENTIDP_WATCH_INTERVAL seconds. If several processes run
    this command, only one of them evaluates. If that process ends, even by SIGKILL, another process takes over within
    seconds. agentidp serve starts this command by itself.
    """
    stop_event = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop_event.set())
    with open_services() as services:
        settings = services.settings
        logging.config.dictConfig(build_logging_config(settings.log_level, settings.log_format))
        watch(services, stop_event, once=once)


@click.command("demo")
def create_demo_organization() -> None:
    """Create the demo organization, unless it exists.

    The organization has 20 agents and 90 days of traffic.
    """
    with (
        open_services(creates_database=True) as services,
        show_activity("Creating the demo organization: 20 agents and 90 days of traffic"),
    ):
        is_new = demo.create_demo(str(services.settings.database_url), services.database, utc_now())
    organization = f"the demo organization {demo.ORGANIZATION_ID}"
    click.echo(f"Created {organization}." if is_new else f"Nothing was created, because {organization} exists already.")
