"""``agentidp resource-server``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import asks_first, confirm, count, dry_run_option
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, database_named, one_of, organization_named, with_agent_ids
from agentidp.cli.options import as_json_option, given, member_options, organization_option, printed
from agentidp.cli.output import show
from agentidp.cli.progress import saying
from agentidp.clock import utc_now
from agentidp.db.organization import OrganizationDatabase
from agentidp.registry import resource_identifiers, resource_servers
from agentidp.services import Services

server_argument = click.argument("server", metavar="ID|RESOURCE")


@click.group(
    "resource-server",
    help=f"""Resource servers: APIs that agents get tokens for.

    The identifier of a resource server belongs to one organization, which alone gets tokens for it.

    Resource servers are printed as: {printed(resource_servers.ResourceServerSchema)}.
    """,
)
def commands() -> None:
    """All commands about resource servers."""


@commands.command("create")
@click.argument("resource")
@organization_option
@member_options(resource_servers.NewResourceServerSchema(exclude=["resource"]))
@as_json_option
def create(organization: str, as_json: bool, **options: Any) -> None:
    """Register a resource server and print its id. RESOURCE is the server's absolute URI."""
    with opened() as services:
        database = database_named(services, organization)
        schema = resource_servers.NewResourceServerSchema()
        body = with_agent_ids(services, database.organization_id, schema, given(schema, options))
        new = schema.load(body)
        with database.transaction() as transaction:
            row = resource_servers.add_resource_server(transaction, services.settings, **new)
    body = resource_servers.represent(row)
    show([body if as_json else {"resourceServerId": body["resourceServerId"]}], as_json, one=True)


@commands.command("show")
@server_argument
@organization_option
@as_json_option
def show_(server: str, organization: str, as_json: bool) -> None:
    """Print a resource server."""
    with opened() as services:
        row = _server(database_named(services, organization), server)
    show([resource_servers.represent(row)], as_json, one=True)


@commands.command("update")
@server_argument
@organization_option
@member_options(resource_servers.ResourceServerChangeSchema())
@as_json_option
def update(server: str, organization: str, as_json: bool, **options: Any) -> None:
    """Change a resource server and print it. Omitted options keep their values. The URI cannot be changed."""
    schema = resource_servers.ResourceServerChangeSchema()
    change = given(schema, options)
    with opened() as services:
        database = database_named(services, organization)
        found = _server(database, server)
        loaded = schema.load(with_agent_ids(services, database.organization_id, schema, change))
        with database.transaction() as transaction:
            row = resource_servers.update_resource_server(
                transaction, services.settings, found.resource_server_id, loaded
            )
    show([resource_servers.represent(row)], as_json, one=True)


@commands.command("delete")
@asks_first
@server_argument
@organization_option
@dry_run_option
def delete(server: str, organization: str, is_dry_run: bool) -> None:
    """Delete a resource server. No further token is issued for it. The organization keeps the identifier."""
    with opened() as services:
        database = database_named(services, organization)
        row = _server(database, server)

        def consequences() -> str:
            agents = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=None)
            users = [agent for agent in agents if {*agent.scopes} & {*row.scopes}]
            return (
                f"This deletes the resource server {row.name} ({row.resource}). {count(len(users), 'agent')} with one "
                f"of its {count(len(row.scopes), 'scope')} can get no further token for it; those that were issued are "
                f"valid until they expire. The organization keeps the identifier.\n{_broken(services, database, row)}"
            )

        confirm(consequences, is_dry_run=is_dry_run)
        with services.database.of(database.organization_id, utc_now()).transaction() as transaction:
            resource_servers.remove_resource_server(transaction, row.resource_server_id)


def _broken(services: Services, database: OrganizationDatabase, server: Any) -> str:
    """Return what breaks without further tokens for a resource server, one line per sentence."""
    broken = impact.of_resource_server(database.run, server, database.at, services.settings.token_ttl)
    return "\n".join(impact.sentences(broken))


def _server(database: OrganizationDatabase, server: str) -> Any:
    rows = database.fetch("oauth/list_resource_servers")
    known = [Candidate(str(row.resource_server_id), [row.resource, row.name], row) for row in rows]
    return one_of(server, known, kind="resource server")


@commands.command("list")
@click.option(
    "--organization",
    metavar="ID|NAME",
    help="List this organization's resource servers.",
)
@click.option("--conflicts", is_flag=True, help="Only identifiers that are registered and that no organization holds.")
@as_json_option
def list_(organization: str | None, conflicts: bool, as_json: bool) -> None:
    """List the identifiers of all organizations.

    Prints: identifier, organization that holds it, organizations that registered it.
    """
    if organization is not None and conflicts:
        raise click.UsageError("give --organization or --conflicts, not both")
    with opened() as services:
        if organization is not None:
            rows = database_named(services, organization).fetch("oauth/list_resource_servers")
            show([resource_servers.represent(row) for row in rows], as_json)
            return
        found = resource_identifiers.resource_identifiers(str(services.settings.database_url), conflicts=conflicts)
    names = ("resource", "organizationId", "registeredBy")
    show([dict(zip(names, (*one[:2], list(one.registered_by)), strict=True)) for one in found], as_json)


@commands.command("assign")
@asks_first
@click.argument("resource")
@organization_option
@click.option(
    "--verify", is_flag=True, help="First check that the resource server's metadata (RFC 9728) names the organization."
)
@as_json_option
def assign(resource: str, organization: str, verify: bool, as_json: bool) -> None:
    """Assign the identifier RESOURCE to an organization.

    Asks first if another organization holds the identifier. Prints the identifier, the organization, and the
    organization that held the identifier before.
    """
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        holder = resource_identifiers.holder(str(services.settings.database_url), resource, utc_now())
        if holder is not None and holder != organization_id:
            confirm(lambda: _taken_from(services, resource, holder))
        with saying(f"Fetching the metadata of {resource}" if verify else "Assigning it"):
            previous = resource_identifiers.assign(
                services.settings, resource, organization_id, utc_now(), verify=verify
            )
    show([{"resource": resource, "organizationId": organization_id, "previously": previous}], as_json, one=True)


@commands.command("release")
@asks_first
@click.argument("resource")
@as_json_option
def release(resource: str, as_json: bool) -> None:
    """Release the identifier RESOURCE. The next organization that registers the identifier gets it."""
    with opened() as services:
        url = str(services.settings.database_url)
        holder = resource_identifiers.holder(url, resource, utc_now())
        if holder is not None:
            confirm(lambda: _taken_from(services, resource, holder))
        previous = resource_identifiers.release(url, resource, utc_now())
    show([{"resource": resource, "organizationId": None, "previously": previous}], as_json, one=True)


def _taken_from(services: Services, resource: str, holder: str) -> str:
    database = services.database.of(holder, utc_now())
    organization = database.fetch("organizations/get_organization")
    servers = [row for row in database.fetch("oauth/list_resource_servers") if row.resource == resource]
    scopes = {scope for server in servers for scope in server.scopes}
    agents = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=None)
    users = [agent for agent in agents if {*agent.scopes} & scopes]
    name = organization[0].name if organization else f"the deleted organization {holder}"
    return (
        f"This takes the identifier {resource} from {name}: {count(len(users), 'agent')} with a scope of its resource "
        "server can get no further token for it. The next organization to which it is assigned, or that registers it, "
        "gets tokens for it."
    )
