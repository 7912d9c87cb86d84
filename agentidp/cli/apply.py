"""``agentidp apply``."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.options import flag_option
from agentidp.cli.output import print_text, show, show_activity
from agentidp.clock import utc_now
from agentidp.db.organization import OrganizationDatabase
from agentidp.declarative.applying import ApplyResult, apply_file
from agentidp.declarative.document import read_document
from agentidp.declarative.plan import Change, Plan, to_json
from agentidp.declarative.schemas import AGENT, ALERT_TARGET, DELEGATION_RULE, OPENID_PROVIDER, RESOURCE_SERVER
from agentidp.http.text import format_count
from agentidp.services import Services

DIFFERENT = 2
"""Exit code of ``--plan`` if the file and the database differ, as in ``terraform plan -detailed-exitcode``."""

MAX_OMITTED = 20
"""Maximum number of printed lines about objects that the file omits. Further objects are only counted."""

SIGNS = {"create": "+", "change": "~", "delete": "-"}


class _Command(click.Command):
    """The command ``apply``. Its exit code for wrong usage is 1 instead of 2, because 2 means :data:`DIFFERENT`."""

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

    All changes are made in one transaction. Objects and members that FILE omits stay unchanged, but rules of trust and
    quotas that a list in FILE omits are removed.

    FILE contains no secrets. Instead of the addresses of alert targets, FILE names environment variables. For each new
    agent, the command prints another command that creates its credential.

    Prints the differences: + before a new object, ~ before a changed object, - before a deleted object. Each deletion
    is followed by its consequences. Objects and members that FILE omits are listed at the end.
    """
    is_stdin = path == Path("-")
    document_bytes = sys.stdin.buffer.read() if is_stdin else path.read_bytes()
    declared_organizations = read_document(document_bytes, "standard input" if is_stdin else str(path))
    apply_declared = partial(apply_file, is_pruning=is_pruning, is_strict=is_strict)
    with open_services(creates_database=not is_plan) as services:
        with show_activity("Comparing the file with the database"):
            dry_run_result = apply_declared(services.settings, declared_organizations, utc_now(), is_dry_run=True)
            consequences = _list_consequences(services, dry_run_result)
        _print_plan(dry_run_result, consequences, as_json)
        if is_plan or not dry_run_result.changes:
            click.get_current_context().exit(DIFFERENT if dry_run_result.changes else 0)
        deletion_count = sum(change.action == "delete" for change in dry_run_result.changes)
        deletions_phrase = f", with {format_count(deletion_count, 'deletion')}" if deletion_count else ""
        confirm(lambda: "", question=f"Apply this{deletions_phrase}?")
        # The clock is read again, because the user may have waited an hour before confirming the plan.
        with show_activity("Applying the file"):
            agreed_plans, now = dry_run_result.plans, utc_now()
            apply_result = apply_declared(services.settings, declared_organizations, now, agreed_plans=agreed_plans)
    _print_next_commands(apply_result)


def _print_next_commands(apply_result: ApplyResult) -> None:
    # The commands go to standard error, so that standard output stays valid JSON with --json.
    for heading, command_lines in apply_result.next_commands.items():
        click.echo(heading, err=True)
        for command_line in command_lines:
            print_text(f"    {command_line}", err=True)


def _print_plan(dry_run_result: ApplyResult, consequences: list[list[str]], as_json: bool) -> None:
    """Print the changes that a file would make.

    :param consequences: one list of sentences per change.
    """
    if as_json:
        show(_represent_changes(dry_run_result, consequences), as_json)
        return
    for change, change_consequences in zip(dry_run_result.changes, consequences, strict=True):
        _print_change(change, change_consequences)
    counts_by_action = {action: sum(change.action == action for change in dry_run_result.changes) for action in SIGNS}
    summary = ", ".join(f"{change_count} to {action}" for action, change_count in counts_by_action.items())
    click.echo(f"{summary}." if dry_run_result.changes else "Nothing differs.")
    _print_omissions([omission for plan in dry_run_result.plans for omission in plan.omissions])


def _represent_changes(dry_run_result: ApplyResult, consequences: list[list[str]]) -> list[dict[str, Any]]:
    member_names = ("action", "type", "organization", "name", "before", "after")
    return [
        {member_name: getattr(change, member_name) for member_name in member_names}
        | {"consequences": change_consequences}
        for change, change_consequences in zip(dry_run_result.changes, consequences, strict=True)
    ]


def _print_change(change: Change, consequences: list[str]) -> None:
    print_text(f"{SIGNS[change.action]} {change}")
    for member_name, member_value in change.after.items():
        previous_value = f"{to_json(change.before[member_name])} → " if member_name in change.before else ""
        print_text(f"    {member_name}: {previous_value}{to_json(member_value)}")
    for sentence in consequences:
        print_text(f"    {sentence}")


def _print_omissions(omissions: list[str]) -> None:
    if omissions:
        click.echo("The file omits these objects and members, so they stay unchanged (--strict would change them):")
    for line in omissions[:MAX_OMITTED]:
        print_text(f"    {line}")
    if len(omissions) > MAX_OMITTED:
        click.echo(f"    and {len(omissions) - MAX_OMITTED} more")


def _list_consequences(services: Services, dry_run_result: ApplyResult) -> list[list[str]]:
    """Return, for each change of a dry run, a list of sentences about its consequences."""
    now, token_ttl = utc_now(), services.settings.token_ttl
    return [
        _describe_consequences(services.database.of(plan.organization_id, now), plan, change, token_ttl)
        for plan in dry_run_result.plans
        for change in plan.changes
    ]


def _describe_consequences(database: OrganizationDatabase, plan: Plan, change: Change, token_ttl: int) -> list[str]:
    """Return sentences about the consequences of a change. *token_ttl* is the default lifetime of tokens in seconds."""
    match change.action, change.type:
        case "delete", AGENT.type:
            return _describe_deleted_agent(database, plan, change, token_ttl)
        case "delete", RESOURCE_SERVER.type:
            server_rows = database.fetch("oauth/list_resource_servers")
            [server_row] = [server_row for server_row in server_rows if str(server_row.resource_server_id) == change.id]
            server_impact = impact.read_resource_server_impact(database.run, server_row, database.at, token_ttl)
            return server_impact.summary
        case "delete" | "change", DELEGATION_RULE.type:
            return ["All tokens that were issued under the rule end."]
        case "delete", ALERT_TARGET.type:
            return ["Messages that were not yet sent to the target are deleted, and are sent to nobody else."]
        case "create", OPENID_PROVIDER.type:
            return ["If the provider needs a client secret, set the secret by agentidp openid-provider update."]
        case "change", OPENID_PROVIDER.type:
            return [impact.describe_ended_sign_ins(change.name, 0)]
        case "delete", OPENID_PROVIDER.type:
            [[grant_count_row]] = database.run(impact.build_count_grants_call(issuer=change.name))
            return [impact.describe_ended_sign_ins(change.name, grant_count_row.grants)]
    return []


def _describe_deleted_agent(database: OrganizationDatabase, plan: Plan, change: Change, token_ttl: int) -> list[str]:
    agent_id = UUID(change.id)
    credential_rows = database.fetch("agents/list_credentials", agent_id=agent_id)
    credential_count = sum(credential_row.credential_id is not None for credential_row in credential_rows)
    return [
        *(
            f"The new agent {to_json(agent_creation.name)} has the same description. To rename the agent instead, "
            f"first run agentidp agent update {agent_id} --name {shlex.quote(agent_creation.name)}."
            for agent_creation in plan.changes
            if (agent_creation.action, agent_creation.type) == ("create", AGENT.type)
            and agent_creation.after["description"] == change.before["description"] != ""
        ),
        f"Its credentials are revoked ({credential_count}), and its tokens stop working at once.",
        *impact.read_agent_impact(database.run, agent_id, database.at, token_ttl).summary,
    ]
