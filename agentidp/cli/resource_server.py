"""``agentidp resource-server``."""

from __future__ import annotations

import click

from agentidp import utc_now
from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import show
from agentidp.registry import resource_identifiers


@click.group("resource-server")
def commands() -> None:
    """Resource identifiers: each belongs to one organization, which alone gets tokens for it."""


@commands.command("list")
@click.option("--conflicts", is_flag=True, help="Only those that are registered and that nobody holds.")
@as_json_option
def list_(conflicts: bool, as_json: bool) -> None:
    """List resource identifiers: the identifier, the organization that holds it, those that have registered it."""
    with opened() as services:
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
    """Give the identifier RESOURCE to an organization. Prints both, and the organization that held it before."""
    with opened() as services:
        organization_named(services, organization_id)
        previous = resource_identifiers.assign(services.settings, resource, organization_id, utc_now(), verify=verify)
    show([{"resource": resource, "organizationId": organization_id, "previously": previous}], as_json, one=True)


@commands.command("release")
@click.argument("resource")
@as_json_option
def release(resource: str, as_json: bool) -> None:
    """Take the identifier RESOURCE from the organization that holds it; the next that registers it gets it."""
    with opened() as services:
        previous = resource_identifiers.release(str(services.settings.database_url), resource)
    show([{"resource": resource, "organizationId": None, "previously": previous}], as_json, one=True)
