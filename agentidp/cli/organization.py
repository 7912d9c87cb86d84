"""``agentidp organization``."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from agentidp.cli.confirmation import confirm, describe_recent_tokens, dry_run_option, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import find_organization, open_organization
from agentidp.cli.options import WholeNumber, as_json_option, flag_option, organization_argument
from agentidp.cli.output import format_cell, show, show_activity, show_object, warn
from agentidp.clock import utc_now
from agentidp.db.database import connect
from agentidp.db.organization import OrganizationDatabase, operator_transaction
from agentidp.declarative import applying
from agentidp.declarative.document import write_document
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.http.text import format_count
from agentidp.maintenance.erasure import delete_organization
from agentidp.registry import organizations
from agentidp.registry.organizations import add_administered_organization
from agentidp.services import Services
from agentidp.usage_history.pruning import count_tokens_by_day

commands = click.Group("organization", help="Organizations: they own agents.")


@commands.command("create")
@click.argument("name")
@flag_option(
    "--with-administrator",
    "with_administrator",
    "Also register an agent that has all scopes, and print its client_id and client_secret. Both are shown once.",
)
@as_json_option
def create_organization(name: str, with_administrator: bool, as_json: bool) -> None:
    """Create the organization NAME and print its id.

    With --with-administrator, prints organization id, client_id and client_secret. The administrator uses them to get a
    token that can create agents, credentials and resource servers over HTTP.
    """
    with open_services(creates_database=True) as services:
        database_url = str(services.settings.database_url)
        name = organizations.OrganizationChangeSchema().load({"name": name})["name"]
        json_members: dict[str, Any]
        if with_administrator:
            organization_id, agent_id, client_secret = add_administered_organization(
                database_url, name=name, at=utc_now()
            )
            json_members = {"organizationId": organization_id, "clientId": str(agent_id), "clientSecret": client_secret}
        else:
            json_members = {"organizationId": organizations.add_organization(database_url, name=name, at=utc_now())}
        organization_rows = organizations.list_organizations(database_url)
        namesake_count = sum(organization_row.name == name for organization_row in organization_rows)
        if namesake_count > 1:
            organization_id = json_members["organizationId"]
            warn([f"{namesake_count} organizations are named {name}, so use the id in commands: {organization_id}"])
    show_object({**json_members, "name": name} if as_json else json_members, as_json, shown_once="clientSecret")


@commands.command("list")
@as_json_option
def list_organizations(as_json: bool) -> None:
    """List the organizations, oldest first.

    Prints: id, name, monthly token budget, creation time, status, days after which a dormant agent is suspended,
    whether provisioning rules create agents.
    """
    with open_services() as services:
        organization_rows = organizations.list_organizations(str(services.settings.database_url))
    show([organizations.represent(organization_row) for organization_row in organization_rows], as_json)


@commands.command("budget")
@organization_argument
@click.argument("tokens", type=WholeNumber(organizations.MIN_BUDGET, organizations.MAX_BUDGET), required=False)
@flag_option("--none", "must_remove", "Remove the budget.")
def show_or_set_budget(organization: str, tokens: int | None, must_remove: bool) -> None:
    """Print, set or remove a monthly token budget.

    The budget is the number of tokens that the organization plans for a UTC calendar month. Tokens beyond the budget
    are still issued. A finding warns when the budget is nearly reached.
    """
    if must_remove and tokens is not None:
        raise click.UsageError("TOKENS and --none cannot be combined")
    with open_organization(organization) as (services, database):
        change = {"monthly_token_budget": tokens} if must_remove or tokens is not None else {}
        click.echo(format_cell(_update_organization(services, database, change).monthly_token_budget))


@commands.command("dormancy")
@require_confirmation
@organization_argument
@click.argument("days", type=WholeNumber(organizations.MIN_DORMANCY, organizations.MAX_DORMANCY), required=False)
@flag_option("--none", "must_remove", "Stop suspending dormant agents.")
def show_or_set_dormancy(organization: str, days: int | None, must_remove: bool) -> None:
    """Print or set when dormant agents are suspended.

    A dormant agent is suspended after a number of days without a token. Two weeks before the suspension, agentidp watch
    announces it with the finding dormant_agent, which is sent to alert targets.
    """
    if must_remove and days is not None:
        raise click.UsageError("DAYS and --none cannot be combined")
    with open_organization(organization) as (services, database):
        if days is not None:
            agent_count = database.fetch("agents/count_agents")[0].count
            confirm(
                lambda: (
                    f"{_fetch_row(database).name} has {format_count(agent_count, 'agent')}. An agent that has not "
                    f"requested a token for {days} days is suspended. A finding announces the suspension "
                    f"{SUSPENSION_NOTICE_DAYS} days before. A suspended agent gets no token until somebody resumes the "
                    "agent."
                )
            )
        change = {"suspend_dormant_after_days": days} if must_remove or days is not None else {}
        click.echo(format_cell(_update_organization(services, database, change).suspend_dormant_after_days))


@commands.command("provisioning")
@require_confirmation
@organization_argument
@click.argument("on_or_off", type=click.Choice(["on", "off"]), required=False, metavar="[on|off]")
def show_or_set_provisioning(organization: str, on_or_off: str | None) -> None:
    """Print or set whether provisioning rules create agents."""
    with open_organization(organization) as (services, database):
        if on_or_off == "on":
            rule_rows = database.fetch("provisioning/list_rules")
            max_agents = sum(rule_row.max_agents for rule_row in rule_rows)
            confirm(
                lambda: (
                    f"{_fetch_row(database).name} has {format_count(len(rule_rows), 'provisioning rule')}. From now "
                    "on, provisioning rules create an agent for each new subject whose token they accept, up to "
                    f"{format_count(max_agents, 'agent')}."
                )
            )
        change = {"provisions_agents": on_or_off == "on"} if on_or_off is not None else {}
        click.echo("on" if _update_organization(services, database, change).provisions_agents else "off")


@commands.command("rename")
@organization_argument
@click.argument("name")
def rename_organization(organization: str, name: str) -> None:
    """Rename an organization."""
    with open_organization(organization) as (services, database):
        _update_organization(services, database, organizations.OrganizationChangeSchema().load({"name": name}))


@commands.command("suspend")
@require_confirmation
@organization_argument
@dry_run_option
def suspend_organization(organization: str, is_dry_run: bool) -> None:
    """Suspend an organization. Its agents get no tokens.

    Existing tokens of the agents are refused. Nothing is deleted. During the suspension, nobody can change anything by
    the API or the dashboard.
    """
    with open_organization(organization) as (services, database):
        confirm(
            lambda: (
                f"This suspends {_describe_organization(database)}. The organization's agents get no token, their "
                "current tokens stop working at once, and nobody can sign in to the organization's dashboard. Nothing "
                f"is deleted. To end the suspension, run agentidp organization resume {database.organization_id}."
            ),
            is_dry_run=is_dry_run,
        )
        _update_organization(services, database, {"suspended_at": utc_now()})


@commands.command("resume")
@organization_argument
def resume_organization(organization: str) -> None:
    """End the suspension of an organization. The tokens of its agents that have not expired work again."""
    with open_organization(organization) as (services, database):
        _update_organization(services, database, {"suspended_at": None})


@commands.command("export")
@click.argument("names", metavar="[ID|NAME]...", nargs=-1)
def export_file(names: tuple[str, ...]) -> None:
    """Print a file for agentidp apply that describes organizations as they are now.

    Without arguments, the file describes all organizations. The file contains no credentials. Instead of the
    addresses of alert targets, the file names environment variables.
    """
    with open_services() as services:
        database_url = str(services.settings.database_url)
        named_rows = [find_organization(services, id_or_name) for id_or_name in names]
        organization_rows = named_rows or organizations.list_organizations(database_url)
        organization_ids = list(dict.fromkeys(row.organization_id for row in organization_rows))
        document_text = write_document(applying.export_organizations(database_url, organization_ids, utc_now()))
    click.echo(document_text, nl=False)


@commands.command("delete")
@require_confirmation
@organization_argument
def confirm_and_delete_organization(organization: str) -> None:
    """Delete an organization with its agents, credentials, resource servers, usage and findings.

    A deletion cannot be undone, so export the usage and the audit trail first. The audit trail is kept, without the
    values before and after each change. The organization keeps its resource identifiers, so that no other organization
    gets tokens for them. The command asks for the organization's name.
    """
    with open_organization(organization) as (services, database):
        database_url, organization_id = str(services.settings.database_url), database.organization_id
        organization_name = _fetch_row(database).name

        def describe_consequences() -> str:
            tokens_by_day = count_tokens_by_day(database_url, organization_id, first_kept=date.max, at=utc_now())
            return (
                f"This deletes {_describe_organization(database)}. All credentials, resource servers and findings of "
                f"the organization, and its usage in {format_count(len(tokens_by_day), 'day')}, "
                f"{format_count(sum(tokens_by_day.values()), 'token')}, are deleted as well. A deletion cannot be "
                "undone."
            )

        confirm(describe_consequences, name=organization_name)
        with show_activity(f"Deleting {organization_name}"):
            delete_organization(database_url, organization_id, at=utc_now())


def _describe_organization(database: OrganizationDatabase) -> str:
    """Return a phrase such as ``Acme with 3 agents and 12 tokens in the last 30 days``."""
    agent_count = database.fetch("agents/count_agents")[0].count
    return (
        f"{_fetch_row(database).name} with {format_count(agent_count, 'agent')} and {describe_recent_tokens(database)}"
    )


def _fetch_row(database: OrganizationDatabase) -> Any:
    return database.fetch("organizations/get_organization")[0]


def _update_organization(services: Services, database: OrganizationDatabase, change: dict[str, Any]) -> Any:
    """Change an organization as the operator, even if the organization is suspended, and return its row.

    :param change: the new values of columns; empty to change nothing.
    """
    if not change:
        return _fetch_row(database)
    with (
        connect(str(services.settings.database_url)) as connection,
        operator_transaction(connection, database.organization_id, utc_now()) as transaction,
    ):
        return organizations.update_organization(transaction, change)
