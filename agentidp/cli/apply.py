"""``agentidp apply``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.output import print_text, show
from agentidp.cli.progress import show_activity
from agentidp.clock import utc_now
from agentidp.declarative.applying import Applied, apply
from agentidp.declarative.document import read_document
from agentidp.declarative.plan import Change, to_json

DIFFERENT = 2
"""Exit code of ``--plan`` if something differs, the same as with Terraform's ``-detailed-exitcode``."""

SIGNS = {"create": "+", "change": "~", "delete": "-"}


class _Command(click.Command):
    """A command whose exit code for wrong usage is 1, because 2 means that something differs."""

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
    help="The fleet in YAML; - is standard input.",
)
@click.option("--plan", "is_plan", is_flag=True, help="Change nothing. Exit code 0 if nothing differs, 2 otherwise.")
@click.option(
    "--prune", "is_pruning", is_flag=True, help="Also delete agents and resource servers that a list does not name."
)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def command(path: Path, is_plan: bool, is_pruning: bool, as_json: bool) -> None:
    """Change organizations, agents and resource servers to match FILE.

    They are changed in one transaction. Everything that FILE omits stays unchanged. FILE contains no secrets, so new
    agents are listed with the command that creates their credential. Prints the differences: + for objects that are
    created, ~ for changes, - for objects that are deleted.
    """
    source = "standard input" if path == Path("-") else str(path)
    declared = read_document(sys.stdin.buffer.read() if path == Path("-") else path.read_bytes(), source)
    with open_services(may_be_first=not is_plan) as services:
        with show_activity("Comparing the file with the database"):
            planned = apply(services.settings, declared, utc_now(), is_pruning=is_pruning, is_dry_run=True)
        _print_changes(planned.changes, as_json)
        if is_plan or not planned.changes:
            click.get_current_context().exit(DIFFERENT if planned.changes else 0)
        confirm(lambda: "", question="Apply this?")
        # Read the clock again, because the confirmation may have taken an hour.
        with show_activity("Applying the file"):
            applied = apply(services.settings, declared, utc_now(), is_pruning=is_pruning, agreed_plans=planned.plans)
    _print_new_agents(applied)


def _print_changes(changes: list[Change], as_json: bool) -> None:
    if as_json:
        names = ("action", "type", "organization", "name", "before", "after")
        show([{name: getattr(change, name) for name in names} for change in changes], as_json)
        return
    for change in changes:
        print_text(f"{SIGNS[change.action]} {change}")
        for name, value in (change.after if change.action != "delete" else {}).items():
            previous = f"{to_json(change.before[name])} → " if name in change.before else ""
            print_text(f"    {name}: {previous}{to_json(value)}")
    counts = {action: sum(change.action == action for change in changes) for action in SIGNS}
    summary = ", ".join(f"{count} to {action}" for action, count in counts.items())
    click.echo(f"{summary}." if changes else "Nothing differs.")


def _print_new_agents(applied: Applied) -> None:
    """Print the new agents to standard error, so that standard output is valid JSON with --json."""
    if applied.new_agents:
        click.echo("The new agents have no credential yet. These commands make them:", err=True)
    for organization, name, agent_id in applied.new_agents:
        comment = f"# {to_json(name)} of {to_json(organization)}"
        print_text(f"    agentidp credential create --agent {agent_id}  {comment}", err=True)
