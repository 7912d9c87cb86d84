"""Asks for confirmation before a command that cannot be undone, or that affects other users.

Such a command has the decorator :func:`require_confirmation` directly below ``@….command(…)``, and calls
:func:`confirm` before it changes anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from uuid import UUID

import click

from agentidp.analytics.period import Period
from agentidp.cli.options import flag_option
from agentidp.cli.output import print_text
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.text import format_count

YES = "agentidp.cli.confirmation.yes"
"""Key of the option ``--yes`` in the ``meta`` of click's context, where :func:`confirm` reads the option."""

COUNTED_DAYS = 30
"""Number of days, including today, whose tokens :func:`describe_recent_tokens` counts."""


def _remember_confirmation(context: click.Context, _option: click.Parameter, is_confirmed: bool) -> None:
    context.meta[YES] = is_confirmed


require_confirmation = click.option(
    "--yes",
    is_flag=True,
    expose_value=False,
    callback=_remember_confirmation,
    help="Do not ask for confirmation. Required without a terminal.",
)
"""Adds the option ``--yes`` to a command that calls :func:`confirm` before it changes anything."""

dry_run_option = flag_option(
    "--dry-run",
    "is_dry_run",
    "Print what the command would change and what would stop working, without changing anything.",
)
"""Adds the option ``--dry-run`` to a command that passes the option's value to :func:`confirm` as ``is_dry_run``."""


def confirm(
    describe_consequences: Callable[[], str],
    *,
    question: str = "Continue?",
    name: str | None = None,
    is_dry_run: bool = False,
) -> None:
    """Print what the command will do, and return only if the user confirms.

    :param describe_consequences: returns sentences about what the command will change, or an empty string if the
        command has already printed them. Called only without ``--yes`` or in a dry run.
    :param name: the name that the user must type instead of ``y``, for the most dangerous commands.
    :param is_dry_run: print the consequences, and end the command with exit code 0.
    :raises click.ClickException: there is neither a terminal nor ``--yes``, or the user typed another name.
    """
    if is_dry_run:
        print_text(describe_consequences())
        raise click.exceptions.Exit
    if click.get_current_context().meta[YES]:
        return
    if consequences := describe_consequences():
        print_text(consequences, err=True)
    if not _is_terminal():
        raise click.ClickException(
            "nothing was changed, because there is no terminal to ask for confirmation: give --yes"
        )
    if name is None:
        click.confirm(question, abort=True, err=True)
    elif click.prompt(f"Type {name} to continue", err=True) != name:
        raise click.ClickException("the typed name is wrong, so nothing was changed")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def describe_recent_tokens(database: OrganizationDatabase, agent_id: UUID | None = None) -> str:
    """Return a phrase such as ``12 tokens in the last 30 days`` for an organization or agent."""
    day_bounds = Period.of(COUNTED_DAYS, database.at).bounds
    if agent_id is None:
        day_rows = database.fetch("analytics/token_trend", **day_bounds)
    else:
        day_rows = database.fetch("analytics/agent_activity", agent_id=agent_id, **day_bounds)
    return f"{format_count(sum(day_row.tokens for day_row in day_rows), 'token')} in the last {COUNTED_DAYS} days"
