"""``agentidp resource-server``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.http.errors import NotFound, existing
from agentidp.registry import resource_identifiers, resource_servers

id_argument = click.argument("resource_server_id", type=click.UUID, metavar="ID")


@click.group("resource-server")
def commands() -> None:
    """Resource servers: the APIs that an organization's agents get tokens for.

    The identifier of a resource server belongs to one organization, which alone gets tokens for it.
    """


@commands.command("create")
@click.argument("resource")
@organization_option
@click.option("--name", required=True, help="For people.")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="May be given several times.")
@as_json_option
def create(resource: str, organization_id: str, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Register the resource server with the identifier RESOURCE, an absolute URI, and print its id."""
    with opened() as services:
        organization_named(services, organization_id)
        new = resource_servers.NewResourceServerSchema().load(
            {"resource": resource, "name": name, "scopes": list(scopes)}
        )
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = resource_servers.add_resource_server(transaction, services.settings, **new)
    body = resource_servers.represent(row)
    show([body if as_json else {"resourceServerId": body["resourceServerId"]}], as_json, one=True)


@commands.command("show")
@id_argument
@organization_option
@as_json_option
def show_(resource_server_id: UUID, organization_id: str, as_json: bool) -> None:
    """Print the resource server ID: id, identifier, name, scopes, time of creation."""
    with opened() as services, _named(resource_server_id):
        organization_named(services, organization_id)
        database = services.database.of(organization_id, utc_now())
        row = existing(database.fetch("oauth/get_resource_server", resource_server_id=resource_server_id))
    show([resource_servers.represent(row)], as_json, one=True)


@commands.command("update")
@id_argument
@organization_option
@click.option("--name", help="The new name.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="Instead of all its scopes; may be given several times."
)
@as_json_option
def update(
    resource_server_id: UUID, organization_id: str, name: str | None, scopes: tuple[str, ...], as_json: bool
) -> None:
    """Change the resource server ID and print it. What is left out stays; the identifier cannot be changed.

    Prints: id, identifier, name, scopes, time of creation.
    """
    change = {**({} if name is None else {"name": name}), **({"scopes": list(scopes)} if scopes else {})}
    if not change:
        raise click.UsageError("name something to change")
    with opened() as services, _named(resource_server_id):
        organization_named(services, organization_id)
        loaded = resource_servers.ResourceServerChangeSchema().load(change)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = resource_servers.update_resource_server(transaction, resource_server_id, loaded)
    show([resource_servers.represent(row)], as_json, one=True)


@commands.command("delete")
@id_argument
@organization_option
def delete(resource_server_id: UUID, organization_id: str) -> None:
    """Delete the resource server ID: no further token is issued for it. The organization keeps its identifier."""
    with opened() as services, _named(resource_server_id):
        organization_named(services, organization_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            resource_servers.remove_resource_server(transaction, resource_server_id)


@contextlib.contextmanager
def _named(resource_server_id: UUID) -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise ConfigurationError(f"the organization has no resource server {resource_server_id}") from None


@commands.command("list")
@click.option(
    "--organization",
    "organization_id",
    metavar="ID",
    help="List this organization's resource servers: id, identifier, name, scopes, time of creation.",
)
@click.option("--conflicts", is_flag=True, help="Only identifiers that are registered and that no organization holds.")
@as_json_option
def list_(organization_id: str | None, conflicts: bool, as_json: bool) -> None:
    """List the identifiers of all organizations: identifier, organization that holds it, those that registered it."""
    if organization_id is not None and conflicts:
        raise click.UsageError("give --organization or --conflicts, not both")
    with opened() as services:
        if organization_id is not None:
            organization_named(services, organization_id)
            rows = services.database.of(organization_id, utc_now()).fetch("oauth/list_resource_servers")
            show([resource_servers.represent(row) for row in rows], as_json)
            return
        found = resource_identifiers.resource_identifiers(str(services.settings.database_url), conflicts=conflicts)
    names = ("resource", "organizationId", "registeredBy")
    show([dict(zip(names, (*one[:2], list(one.registered_by)), strict=True)) for one in found], as_json)


@commands.command("assign")
@click.argument("resource")
@organization_option
@click.option(
    "--verify", is_flag=True, help="First check that the resource server's metadata (RFC 9728) names the organization."
)
@as_json_option
def assign(resource: str, organization_id: str, verify: bool, as_json: bool) -> None:
    """Assign the identifier RESOURCE to an organization. Prints both, and the organization that held it before."""
    with opened() as services:
        organization_named(services, organization_id)
        previous = resource_identifiers.assign(services.settings, resource, organization_id, utc_now(), verify=verify)
    show([{"resource": resource, "organizationId": organization_id, "previously": previous}], as_json, one=True)


@commands.command("release")
@click.argument("resource")
@as_json_option
def release(resource: str, as_json: bool) -> None:
    """Release the identifier RESOURCE. The next organization that registers it gets it."""
    with opened() as services:
        previous = resource_identifiers.release(str(services.settings.database_url), resource, utc_now())
    show([{"resource": resource, "organizationId": None, "previously": previous}], as_json, one=True)
