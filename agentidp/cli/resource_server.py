"""``agentidp resource-server``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import confirm, count, dry_run_option, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import (
    Candidate,
    begin_transaction,
    find_candidate,
    open_organization,
    organization_database,
    replace_agent_names,
)
from agentidp.cli.options import as_json_option, describe_fields, member_options, organization_option, read_options
from agentidp.cli.output import show, show_object
from agentidp.cli.progress import show_activity
from agentidp.clock import utc_now
from agentidp.db.organization import OrganizationDatabase
from agentidp.registry import resource_identifiers, resource_servers
from agentidp.services import Services

server_argument = click.argument("server", metavar="ID|RESOURCE")

commands = click.Group(
    "resource-server",
    help=f"""Resource servers: APIs that agents get tokens for.

    The identifier of a resource server belongs to one organization, which alone gets tokens for it.

    Resource servers are printed as: {describe_fields(resource_servers.ResourceServerSchema)}.
    """,
)


@commands.command("create")
@click.argument("resource")
@organization_option
@member_options(resource_servers.NewResourceServerSchema(exclude=["resource"]))
@as_json_option
def create(organization: str, as_json: bool, **options: Any) -> None:
    """Register a resource server and print its id. RESOURCE is the absolute URI of the resource server."""
    schema = resource_servers.NewResourceServerSchema()
    with open_organization(organization) as (services, database):
        new = schema.load(replace_agent_names(services, database, schema, read_options(schema, options)))
        with database.transaction() as transaction:
            row = resource_servers.add_resource_server(transaction, services.settings, **new)
    body = resource_servers.represent(row)
    show_object(body if as_json else {"resourceServerId": body["resourceServerId"]}, as_json)


@commands.command("show")
@server_argument
@organization_option
@as_json_option
def show_(server: str, organization: str, as_json: bool) -> None:
    """Print a resource server."""
    with open_organization(organization) as (_, database):
        row = _find_server(database, server)
    show_object(resource_servers.represent(row), as_json)


@commands.command("update")
@server_argument
@organization_option
@member_options(resource_servers.ResourceServerChangeSchema())
@as_json_option
def update(server: str, organization: str, as_json: bool, **options: Any) -> None:
    """Change a resource server and print it. Omitted options keep their values. The URI cannot be changed."""
    schema = resource_servers.ResourceServerChangeSchema()
    change = read_options(schema, options)
    with open_organization(organization) as (services, database):
        server_id = _find_server(database, server).resource_server_id
        values = schema.load(replace_agent_names(services, database, schema, change))
        with database.transaction() as transaction:
            row = resource_servers.update_resource_server(transaction, services.settings, server_id, values)
    show_object(resource_servers.represent(row), as_json)


@commands.command("delete")
@require_confirmation
@server_argument
@organization_option
@dry_run_option
def delete(server: str, organization: str, is_dry_run: bool) -> None:
    """Delete a resource server. No further token is issued for it. Its identifier stays the organization's."""
    with open_organization(organization) as (services, database):
        row = _find_server(database, server)

        def describe_consequences() -> str:
            server_impact = impact.read_resource_server_impact(
                database.run, row, database.at, services.settings.token_ttl
            )
            verdict = (
                f"This deletes the resource server {row.name} ({row.resource}). {_count_users(database, row.scopes)} "
                "with its scopes can get no further token for it. Issued tokens stay valid until they expire. The "
                "organization keeps the identifier."
            )
            return "\n".join([verdict, *impact.sentences(server_impact)])

        confirm(describe_consequences, is_dry_run=is_dry_run)
        with begin_transaction(services, database) as transaction:
            resource_servers.remove_resource_server(transaction, row.resource_server_id)


def _find_server(database: OrganizationDatabase, server: str) -> Any:
    rows = database.fetch("oauth/list_resource_servers")
    candidates = [Candidate(str(row.resource_server_id), [row.resource, row.name], row) for row in rows]
    return find_candidate(server, candidates, kind="resource server")


def _count_users(database: OrganizationDatabase, scopes: list[str]) -> str:
    """Return the number of agents that have at least one of the scopes, such as ``3 agents``."""
    agents = database.fetch("agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None)
    return count(sum(not {*agent.scopes}.isdisjoint(scopes) for agent in agents), "agent")


@commands.command("list")
@click.option(
    "--organization",
    metavar="ID|NAME",
    help="Organization whose resource servers are listed, instead of all identifiers.",
)
@click.option(
    "--conflicts", is_flag=True, help="List only the identifiers that are registered but not owned by an organization."
)
@as_json_option
def list_(organization: str | None, conflicts: bool, as_json: bool) -> None:
    """List the identifiers of all organizations.

    Prints: identifier, organization that owns it, organizations that registered it.
    """
    if organization is not None and conflicts:
        raise click.UsageError("--organization and --conflicts cannot be combined")
    with open_services() as services:
        if organization is not None:
            rows = organization_database(services, organization).fetch("oauth/list_resource_servers")
            show([resource_servers.represent(row) for row in rows], as_json)
            return
        rows = resource_identifiers.resource_identifiers(str(services.settings.database_url), conflicts=conflicts)
    names = ("resource", "organizationId", "registeredBy")
    show([dict(zip(names, (*row[:2], list(row.registered_by)), strict=True)) for row in rows], as_json)


@commands.command("assign")
@require_confirmation
@click.argument("resource")
@organization_option
@click.option(
    "--verify", is_flag=True, help="First check that the resource server's metadata (RFC 9728) names the organization."
)
@as_json_option
def assign(resource: str, organization: str, verify: bool, as_json: bool) -> None:
    """Assign the identifier RESOURCE to an organization.

    Asks first if another organization owns the identifier. Prints the identifier, the organization, and the
    organization that owned the identifier before.
    """
    with open_organization(organization) as (services, database):
        organization_id = database.organization_id
        holder = resource_identifiers.find_holder(str(services.settings.database_url), resource, utc_now())
        if holder is not None and holder != organization_id:
            confirm(lambda: _describe_loss(services, resource, holder))
        with show_activity(f"Fetching the metadata of {resource}" if verify else "Assigning it"):
            previous = resource_identifiers.assign(
                services.settings, resource, organization_id, utc_now(), verify=verify
            )
    show_object({"resource": resource, "organizationId": organization_id, "previously": previous}, as_json)


@commands.command("release")
@require_confirmation
@click.argument("resource")
@as_json_option
def release(resource: str, as_json: bool) -> None:
    """Release the identifier RESOURCE. The next organization that registers the identifier owns it."""
    with open_services() as services:
        url = str(services.settings.database_url)
        holder = resource_identifiers.find_holder(url, resource, utc_now())
        if holder is not None:
            confirm(lambda: _describe_loss(services, resource, holder))
        previous = resource_identifiers.release(url, resource, utc_now())
    show_object({"resource": resource, "organizationId": None, "previously": previous}, as_json)


def _describe_loss(services: Services, resource: str, holder: str) -> str:
    database = services.database.of(holder, utc_now())
    organization = database.fetch("organizations/get_organization")
    servers = [row for row in database.fetch("oauth/list_resource_servers") if row.resource == resource]
    users = _count_users(database, [scope for server in servers for scope in server.scopes])
    name = organization[0].name if organization else f"the deleted organization {holder}"
    return (
        f"This takes the identifier {resource} from {name}. {users} of the organization can get no further token for "
        "the resource server. The next organization that owns the identifier gets tokens for it."
    )
