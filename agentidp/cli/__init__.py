"""The ``agentidp`` command, which combines the command groups of the package's modules."""

from __future__ import annotations

import contextlib

import click

from agentidp.cli import (
    agent,
    alerts,
    apply,
    audit,
    backup,
    check,
    credential,
    dashboard,
    db,
    delegation_rule,
    demo,
    findings,
    keys,
    marker,
    organization,
    provisioning_rule,
    quota,
    resource_server,
    restore,
    serve,
    token,
    usage,
    watch,
)
from agentidp.cli.version import print_version


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the release, and the commit if this is a git checkout.",
)
def cli() -> None:
    """An identity provider for AI agents that counts every token it issues, exactly.

    Without AGENTIDP_DATABASE_URL every command uses AgentIdP's own PostgreSQL below AGENTIDP_DATA_DIR.
    """


_GROUPS = (
    agent,
    alerts,
    audit,
    credential,
    db,
    delegation_rule,
    findings,
    keys,
    marker,
    organization,
    provisioning_rule,
    quota,
    resource_server,
    usage,
)
for group in _GROUPS:
    cli.add_command(group.commands)
for command in (apply, backup, check, dashboard, demo, restore, serve, token, watch):
    cli.add_command(command.command)


def main() -> None:
    """Run the console script. An error is printed as one sentence to standard error, with exit code 1."""
    with contextlib.suppress(BrokenPipeError):
        cli()
