"""``agentidp apply``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from agentidp.cli.confirmation import confirm, format_count, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.options import flag_option
from agentidp.cli.output import print_text, show, show_activity
from agentidp.clock import utc_now
from agentidp.declarative.applying import Applied, apply_file
from agentidp.declarative.consequences import list_consequences
from agentidp.declarative.document import read_document
from agentidp.declarative.plan import to_json

DIFFERENT = 2
"""Exit code of ``--plan`` if the file and the database differ, as in ``terraform plan -detailed-exitcode``."""

MAX_OMITTED = 20
"""Maximum number of printed lines about objects that the file omits. Further objects are only counted."""

SIGNS = {"create": "+", "change": "~", "delete": "-"}


class _Command(click.Command):
    """The command ``apply``. Wrong usage ends it with exit code 1 instead of 2, because 2 is :data:`DIFFERENT`."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.exit_code = 1  # type: ignore[misc]
            raise


@click.command("apply", cls=_Command)
@require_confirmation
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A YAML file that describes the organizations, or - for standard input.",
)
@flag_option(
    "--plan", "is_plan", "Print the differences without making changes. Exit code 0 if nothing differs, 2 otherwise."
)
@flag_option("--prune", "is_pruning", "Also delete agents and other objects that are missing from a list in FILE.")
@flag_option(
    "--strict",
    "is_strict",
    "Like --prune, but also empty the lists that FILE omits, and set omitted members to their defaults.",
)
@flag_option("--json", "as_json", "Print the differences as JSON.")
def apply_document(path: Path, is_plan: bool, is_pruning: bool, is_strict: bool, as_json: bool) -> None:
    """Change organizations, agents, resource servers, rules and alert targets to match FILE.

    All changes are made in one transaction. Everything that FILE omits stays unchanged.

    FILE contains no secrets. Instead of the addresses of alert targets, FILE names environment variables. For each new
    agent, the command prints another command that creates its credential.

    Prints the differences: + before a new object, ~ before a changed object, - before a deleted object. Each deletion
    is followed by its consequences. Objects and members that FILE omits are listed at the end.
    """
    source_name = "standard input" if path == Path("-") else str(path)
    declared_organizations = read_document(
        sys.stdin.buffer.read() if path == Path("-") else path.read_bytes(), source_name
    )
    apply_declared = partial(apply_file, is_pruning=is_pruning, is_strict=is_strict)
    with open_services(may_be_first=not is_plan) as services:
        with show_activity("Comparing the file with the database"):
            planned_file = apply_declared(services.settings, declared_organizations, utc_now(), is_dry_run=True)
            consequences: list[list[str]] = []
            for plan in planned_file.plans:
                consequences += list_consequences(services.database, plan, utc_now(), services.settings.token_ttl)
        _print_changes(planned_file, consequences, as_json)
        if is_plan or not planned_file.changes:
            click.get_current_context().exit(DIFFERENT if planned_file.changes else 0)
        deletion_count = sum(change.action == "delete" for change in planned_file.changes)
        deletions_phrase = f", with {format_count(deletion_count, 'deletion')}" if deletion_count else ""
        confirm(lambda: "", question=f"Apply this{deletions_phrase}?")
        # The clock is read again, because the user may have waited an hour before confirming the plan.
        with show_activity("Applying the file"):
            applied_file = apply_declared(
                services.settings, declared_organizations, utc_now(), agreed_plans=planned_file.plans
            )
    # The commands go to standard error, so that standard output stays valid JSON with --json.
    for heading, command_lines in applied_file.next_commands.items():
        click.echo(heading, err=True)
        for command_line in command_lines:
            print_text(f"    {command_line}", err=True)


def _print_changes(planned: Applied, consequences: list[list[str]], as_json: bool) -> None:
    """Print the changes that a file makes. *consequences* has sentences per change about what the change ends."""
    changes = planned.changes
    if as_json:
        member_names = ("action", "type", "organization", "name", "before", "after")
        shown_changes = [
            {name: getattr(change, name) for name in member_names} | {"consequences": sentences}
            for change, sentences in zip(changes, consequences, strict=True)
        ]
        show(shown_changes, as_json)
        return
    for change, sentences in zip(changes, consequences, strict=True):
        print_text(f"{SIGNS[change.action]} {change}")
        for member_name, member_value in change.after.items():
            previous_value = f"{to_json(change.before[member_name])} → " if member_name in change.before else ""
            print_text(f"    {member_name}: {previous_value}{to_json(member_value)}")
        for sentence in sentences:
            print_text(f"    {sentence}")
    counts = {action: sum(change.action == action for change in changes) for action in SIGNS}
    summary = ", ".join(f"{count} to {action}" for action, count in counts.items())
    click.echo(f"{summary}." if changes else "Nothing differs.")
    _print_omissions([line for plan in planned.plans for line in plan.omissions])


def _print_omissions(omissions: list[str]) -> None:
    if omissions:
        click.echo("The file omits these objects and members, so they stay unchanged (--strict would change them):")
    for line in omissions[:MAX_OMITTED]:
        print_text(f"    {line}")
    if len(omissions) > MAX_OMITTED:
        click.echo(f"    and {len(omissions) - MAX_OMITTED} more")
