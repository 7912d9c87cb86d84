"""The ``agentidp`` command, which combines the command groups of the package's modules."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from agentidp.cli import (
    agent,
    alerts,
    apply,
    audit,
    check,
    credential,
    db,
    findings,
    grant,
    keys,
    marker,
    openid_provider,
    organization,
    quota,
    resource_server,
    rule,
    serve,
    token,
    usage,
)
from agentidp.cli.context import report_errors
from agentidp.cli.version import print_version


class _Cli(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. If it raises an error that the user can correct, print a sentence and exit with code 1."""
        with report_errors():
            return super().invoke(ctx)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
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


for command_group in (
    *(agent, alerts, audit, credential, db, findings, grant, keys, marker, openid_provider, organization, quota),
    *(resource_server, usage),
):
    cli.add_command(command_group.commands)
for command in (
    *(apply.apply_document, db.back_up_database, db.restore_backup, check.run_checks),
    *(rule.delegation_commands, rule.provisioning_commands, serve.create_demo_organization, serve.run_service),
    *(serve.run_watch, token.print_sign_in_link, token.print_token),
):
    cli.add_command(command)


def main() -> None:
    """Run the command ``agentidp``."""
    with contextlib.suppress(BrokenPipeError):
        cli()
