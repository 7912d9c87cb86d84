"""``agentidp resource-server``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import confirm, dry_run_option, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import begin_transaction, find_database, find_row, open_organization, replace_agent_names
from agentidp.cli.options import (
    add_member_options,
    as_json_option,
    describe_fields,
    flag_option,
    name_option,
    organization_option,
    read_options,
)
from agentidp.cli.output import show, show_activity, show_object
from agentidp.clock import utc_now
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.text import format_count
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
@add_member_options(resource_servers.NewResourceServerSchema(exclude=["resource"]))
@as_json_option
def create_server(organization: str, as_json: bool, **options: Any) -> None:
    """Register a resource server and print its id. RESOURCE is the absolute URI of the resource server."""
    schema = resource_servers.NewResourceServerSchema()
    with open_organization(organization) as (services, database):
        new_server = schema.load(replace_agent_names(services, database, schema, read_options(schema, options)))
        with database.transaction() as transaction:
            server_row = resource_servers.add_resource_server(transaction, services.settings, **new_server)
    show_object(resource_servers.represent(server_row), as_json, members=["resourceServerId"])


@commands.command("show")
@server_argument
@organization_option
@as_json_option
def show_server(server: str, organization: str, as_json: bool) -> None:
    """Print a resource server."""
    with open_organization(organization) as (_, database):
        server_row = _find_server(database, server)
    show_object(resource_servers.represent(server_row), as_json)


@commands.command("update")
@server_argument
@organization_option
@add_member_options(resource_servers.ResourceServerChangeSchema())
@as_json_option
def update_server(server: str, organization: str, as_json: bool, **options: Any) -> None:
    """Change a resource server and print it. Omitted options keep their values. The URI cannot be changed."""
    schema = resource_servers.ResourceServerChangeSchema()
    request_body = read_options(schema, options)
    with open_organization(organization) as (services, database):
        server_id = _find_server(database, server).resource_server_id
        change = schema.load(replace_agent_names(services, database, schema, request_body))
        with database.transaction() as transaction:
            server_row = resource_servers.update_resource_server(transaction, services.settings, server_id, change)
    show_object(resource_servers.represent(server_row), as_json)


@commands.command("delete")
@require_confirmation
@server_argument
@organization_option
@dry_run_option
def delete_server(server: str, organization: str, is_dry_run: bool) -> None:
    """Delete a resource server. No further token is issued for it. The organization keeps the identifier."""
    with open_organization(organization) as (services, database):
        server_row = _find_server(database, server)

        def describe_consequences() -> str:
            server_impact = impact.read_resource_server_impact(
                database.run, server_row, database.at, services.settings.token_ttl
            )
            deletion_message = (
                f"This deletes the resource server {server_row.name} ({server_row.resource}). "
                f"{_count_agents_with_scopes(database, server_row.scopes)} with its scopes can get no further token "
                "for it. Issued tokens stay valid until they expire. The organization keeps the identifier."
            )
            return "\n".join([deletion_message, *server_impact.summary])

        confirm(describe_consequences, is_dry_run=is_dry_run)
        with begin_transaction(services, database) as transaction:
            resource_servers.remove_resource_server(transaction, server_row.resource_server_id)


def _find_server(database: OrganizationDatabase, server: str) -> Any:
    server_rows = database.fetch("oauth/list_resource_servers")
    return find_row(server, server_rows, "resource_server_id", "resource", "name", kind="resource server")


def _count_agents_with_scopes(database: OrganizationDatabase, scopes: list[str]) -> str:
    """Return a phrase such as ``3 agents``, which counts the agents with at least one of the scopes."""
    agents = database.fetch("agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None)
    return format_count(sum(not {*agent.scopes}.isdisjoint(scopes) for agent in agents), "agent")


@commands.command("list")
@name_option(
    "--organization",
    "List the resource servers of this organization. Default: list the identifiers of all resource servers.",
)
@flag_option("--conflicts", "only_unowned", "List only identifiers that are registered, but that no organization owns.")
@as_json_option
def list_identifiers(organization: str | None, only_unowned: bool, as_json: bool) -> None:
    """List the identifiers of all resource servers.

    Prints: identifier, id of the organization that owns it, ids of the organizations that registered it.
    """
    if organization is not None and only_unowned:
        raise click.UsageError("--organization and --conflicts cannot be combined")
    with open_services() as services:
        if organization is not None:
            server_rows = find_database(services, organization).fetch("oauth/list_resource_servers")
            show([resource_servers.represent(server_row) for server_row in server_rows], as_json)
            return
        database_url = str(services.settings.database_url)
        identifiers = resource_identifiers.list_resource_identifiers(database_url, only_unowned=only_unowned)
    identifier_objects = [
        {"resource": resource, "organizationId": owner_id, "registeredBy": list(organization_ids)}
        for resource, owner_id, organization_ids in identifiers
    ]
    show(identifier_objects, as_json)


@commands.command("assign")
@require_confirmation
@click.argument("resource")
@organization_option
@flag_option("--verify", "verify", "First check that the resource server's metadata (RFC 9728) names the organization.")
@as_json_option
def assign_identifier(resource: str, organization: str, verify: bool, as_json: bool) -> None:
    """Assign the identifier RESOURCE to an organization.

    If another organization owns the identifier, asks first. Prints the identifier, the organization, and the
    organization that owned the identifier before.
    """
    with open_organization(organization) as (services, database):
        organization_id = database.organization_id
        current_owner_id = resource_identifiers.find_owner(str(services.settings.database_url), resource, utc_now())
        if current_owner_id is not None and current_owner_id != organization_id:
            confirm(lambda: _describe_identifier_loss(services, resource, current_owner_id))
        with show_activity(f"Fetching the metadata of {resource}" if verify else "Assigning it"):
            previous_owner_id = resource_identifiers.assign_identifier(
                services.settings, resource, organization_id, utc_now(), verify=verify
            )
    show_object({"resource": resource, "organizationId": organization_id, "previously": previous_owner_id}, as_json)


@commands.command("release")
@require_confirmation
@click.argument("resource")
@as_json_option
def release_identifier(resource: str, as_json: bool) -> None:
    """Release the identifier RESOURCE. The next organization that registers the identifier owns it."""
    with open_services() as services:
        database_url = str(services.settings.database_url)
        current_owner_id = resource_identifiers.find_owner(database_url, resource, utc_now())
        if current_owner_id is not None:
            confirm(lambda: _describe_identifier_loss(services, resource, current_owner_id))
        previous_owner_id = resource_identifiers.release_identifier(database_url, resource, utc_now())
    show_object({"resource": resource, "organizationId": None, "previously": previous_owner_id}, as_json)


def _describe_identifier_loss(services: Services, resource: str, owner_id: str) -> str:
    database = services.database.of(owner_id, utc_now())
    organization_rows = database.fetch("organizations/get_organization")
    server_rows = database.fetch("oauth/list_resource_servers")
    scopes = [scope for server_row in server_rows if server_row.resource == resource for scope in server_row.scopes]
    agents_phrase = _count_agents_with_scopes(database, scopes)
    organization_name = organization_rows[0].name if organization_rows else f"the deleted organization {owner_id}"
    return (
        f"This takes the identifier {resource} from {organization_name}. {agents_phrase} of the organization can "
        "get no further token for the resource server. From then on, only agents of the identifier's next owner can "
        "get tokens for the resource server."
    )
