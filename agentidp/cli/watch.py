"""``agentidp watch``."""

from __future__ import annotations

import logging.config
import signal
import threading

import click

from agentidp.cli.context import open_services
from agentidp.http.logs import build_logging_config
from agentidp.server.watch import watch


@click.command("watch")
@click.option(
    "--once", is_flag=True, help="Evaluate the findings of each organization once and end, for example in a cron job."
)
def run_watch(once: bool) -> None:
    """Evaluate findings and send alerts, until SIGTERM.

    The findings of every organization are evaluated every AGENTIDP_WATCH_INTERVAL seconds. If this command runs several
    times, only one process evaluates. If that process ends, even by SIGKILL, another process takes over within seconds.
    agentidp serve starts this command by itself.
    """
    stop_event = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop_event.set())
    with open_services() as services:
        settings = services.settings
        logging.config.dictConfig(build_logging_config(settings.log_level, settings.log_format))
        watch(services, stop_event, once=once)
