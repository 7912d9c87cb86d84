"""``agentidp organization``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named
from agentidp.cli.output import cell, show
from agentidp.clock import utc_now
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.declarative import applying
from agentidp.declarative.document import write_document
from agentidp.erasure import delete_organization
from agentidp.registry import organizations
from agentidp.registry.administrator import add_administered_organization
from agentidp.services import Services


@click.group("organization")
def commands() -> None:
    """Organizations: they own agents."""


@commands.command("create")
@click.argument("name")
@click.option(
    "--with-administrator",
    is_flag=True,
    help="Also register an agent with all scopes, and print its client_id and its client_secret, once.",
)
@as_json_option
def create(name: str, with_administrator: bool, as_json: bool) -> None:
    """Create the organization NAME and print its id.

    With --with-administrator: organization id, client_id, client_secret. With these the administrator gets a token, and
    with that it creates agents, credentials and resource servers over HTTP.
    """
    with opened() as services:
        url = str(services.settings.database_url)
        name = organizations.NewOrganizationSchema().load({"name": name})["name"]
        made: dict[str, Any]
        if with_administrator:
            organization_id, agent_id, secret = add_administered_organization(url, name=name, at=utc_now())
            made = {"organizationId": organization_id, "clientId": str(agent_id), "clientSecret": secret}
        else:
            made = {"organizationId": organizations.add_organization(url, name=name, at=utc_now())}
    show([{**made, "name": name} if as_json else made], as_json, one=True)


@commands.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the organizations, oldest first: id, name, monthly token budget, creation time, status."""
    with opened() as services:
        rows = organizations.all_organizations(str(services.settings.database_url))
    show([organizations.represent(row) for row in rows], as_json)


@commands.command("budget")
@click.argument("organization_id", metavar="ID")
@click.argument(
    "tokens",
    type=click.IntRange(organizations.MIN_BUDGET, organizations.MAX_BUDGET),
    required=False,
    metavar="[TOKENS]",
)
@click.option("--none", "is_removed", is_flag=True, help="Remove the budget.")
def budget(organization_id: str, tokens: int | None, is_removed: bool) -> None:
    """Print how many tokens the organization ID plans to get in a calendar month; set it to TOKENS, or remove it.

    Tokens beyond the budget are still issued; a finding warns when the budget is nearly reached.
    """
    if is_removed and tokens is not None:
        raise click.UsageError("give TOKENS or --none, not both")
    with opened() as services:
        row = organization_named(services, organization_id)
        if is_removed or tokens is not None:
            with services.database.of(organization_id, utc_now()).transaction() as transaction:
                row = organizations.update_organization(transaction, {"monthly_token_budget": tokens})
    click.echo(cell(row.monthly_token_budget))


@commands.command("rename")
@click.argument("organization_id", metavar="ID")
@click.argument("name")
def rename(organization_id: str, name: str) -> None:
    """Rename the organization ID."""
    with opened() as services:
        organization_named(services, organization_id)
        change = organizations.OrganizationChangeSchema().load({"name": name})
        _update(services, organization_id, change)


@commands.command("suspend")
@click.argument("organization_id", metavar="ID")
def suspend(organization_id: str) -> None:
    """Suspend the organization ID: its agents get no tokens, and those that they have are refused.

    Nothing is deleted, and nothing can be changed by its agents or on its dashboard meanwhile.
    """
    with opened() as services:
        organization_named(services, organization_id)
        _update(services, organization_id, {"suspended_at": utc_now()})


@commands.command("resume")
@click.argument("organization_id", metavar="ID")
def resume(organization_id: str) -> None:
    """End the suspension of the organization ID. Tokens that have not expired are valid again."""
    with opened() as services:
        organization_named(services, organization_id)
        _update(services, organization_id, {"suspended_at": None})


@commands.command("export")
@click.argument("organization_ids", metavar="[ID]...", nargs=-1)
def export(organization_ids: tuple[str, ...]) -> None:
    """Print the file with which agentidp apply changes nothing, of the organizations ID or of all.

    It contains no credentials and no alert targets.
    """
    with opened() as services:
        url = str(services.settings.database_url)
        for one in organization_ids:
            organization_named(services, one)
        ids = list(dict.fromkeys(organization_ids)) or [
            row.organization_id for row in organizations.all_organizations(url)
        ]
        text = write_document(applying.export(url, ids, utc_now()))
    click.echo(text, nl=False)


@commands.command("delete")
@click.argument("organization_id", metavar="ID")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask for the organization's name.")
def delete(organization_id: str, is_confirmed: bool) -> None:
    """Delete the organization ID with its agents, credentials, resource servers, usage and findings.

    This cannot be undone: export the usage and the audit trail first. The trail stays without what was changed, and the
    resource identifiers stay assigned, so that nobody else gets tokens for them.
    """
    with opened() as services:
        row = organization_named(services, organization_id)
        if not is_confirmed and click.prompt(f"Type the organization's name to delete it ({row.name})") != row.name:
            raise click.ClickException("this is not its name; nothing was deleted")
        delete_organization(str(services.settings.database_url), organization_id, at=utc_now())


def _update(services: Services, organization_id: str, change: dict[str, Any]) -> None:
    url = str(services.settings.database_url)
    with connect(url) as connection, operator_transaction(connection, organization_id, utc_now()) as transaction:
        organizations.update_organization(transaction, change)
