"""Commands that cannot be undone, or that end service for others, say what they will do and ask.

Such a command is declared by :func:`asks_first`, the first line below ``@….command(…)``, which gives it ``--yes``.
Before it changes anything it calls :func:`confirm` with a function that says, with counts, what it will do. With
``--yes`` that function is not called. Without ``--yes`` and without a terminal the command says the same and refuses.

``tests/audit/test_everything_is_recorded.py`` finds the commands that delete, revoke, suspend or release something by
the events that they leave, and fails if one of them is not declared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import click

from agentidp.analytics.period import Period
from agentidp.cli.output import say
from agentidp.db.organization import OrganizationDatabase

YES = "agentidp.cli.confirmation.yes"
"""The key in the command's ``meta``, and there only in a command that is declared."""

COUNTED_DAYS = 30
"""Days whose tokens a question counts, today included."""

F = TypeVar("F", bound=Callable[..., object])


def asks_first(command: F) -> F:
    """Declare that a command asks before it changes anything, and give it ``--yes``."""

    def remember(context: click.Context, _option: click.Parameter, is_confirmed: bool) -> None:
        context.meta[YES] = is_confirmed

    return click.option(
        "--yes",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Do not ask. Needed if there is no terminal.",
    )(command)


def confirm(
    consequences: Callable[[], str],
    *,
    question: str = "Continue?",
    name: str | None = None,
    is_dry_run: bool = False,
) -> None:
    """Say what the command will do, and return if it may.

    :param consequences: says it, in sentences with counts; empty if the command has printed it.
    :param name: what must be typed instead of y, if a mistake would cost most.
    :param is_dry_run: print it, and end the command without an error.
    :raises click.ClickException: there is no terminal and no ``--yes``, or another name was typed.
    :raises click.Abort: the answer is no.
    """
    if is_dry_run:
        say(consequences())
        raise click.exceptions.Exit
    if click.get_current_context().meta[YES]:
        return
    if text := consequences():
        say(text, err=True)
    if not _is_terminal():
        raise click.ClickException("nothing was changed: there is no terminal to ask on, so give --yes")
    if name is None:
        click.confirm(question, abort=True, err=True)
    elif click.prompt(f"Type {name} to continue", err=True) != name:
        raise click.ClickException("this is not its name; nothing was changed")


def dry_run_option(command: F) -> F:
    """``--dry-run``: the command gets ``is_dry_run``, says its consequences and changes nothing."""
    return click.option(
        "--dry-run", "is_dry_run", is_flag=True, help="Print what it would do and what would break, and change nothing."
    )(command)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 token``, ``2,000 tokens``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def recent_tokens(database: OrganizationDatabase, agent_id: UUID | None = None) -> str:
    """How many tokens an organization, or one of its agents, was issued lately, as part of a sentence."""
    days = Period.of(COUNTED_DAYS, database.at).bounds
    if agent_id is None:
        rows = database.fetch("analytics/token_trend", **days)
    else:
        rows = database.fetch("analytics/agent_activity", agent_id=agent_id, **days)
    return f"{count(sum(row.tokens for row in rows), 'token')} in the last {COUNTED_DAYS} days"
