"""``agentidp openid-provider``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.analytics.impact import build_count_grants_call, describe_ended_sign_ins
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.lookup import begin_transaction, open_organization
from agentidp.cli.options import add_member_options, as_json_option, describe_fields, organization_option, read_options
from agentidp.cli.output import show, show_object
from agentidp.config import ConfigurationError
from agentidp.db.organization import OrganizationDatabase
from agentidp.registry import openid_providers

commands = click.Group(
    "openid-provider",
    help=f"""OpenID providers of organizations: where the people of an organization sign in.

    An organization has one provider of its own, or uses the provider in the settings. A provider is printed as:
    {describe_fields(openid_providers.OpenidProviderSchema)}.
    """,
)


@commands.command("create")
@organization_option
@add_member_options(openid_providers.NewOpenidProviderSchema())
@as_json_option
def create_provider(organization: str, as_json: bool, **options: Any) -> None:
    """Add the organization's own OpenID provider and print its id. The client secret is read from a file."""
    schema = openid_providers.NewOpenidProviderSchema()
    new_provider = schema.load(read_options(schema, options))
    with open_organization(organization) as (services, database), database.transaction() as transaction:
        provider_row = openid_providers.add_provider(transaction, services.settings, **new_provider)
    show_object(openid_providers.represent(provider_row), as_json, members=["openidProviderId"])


@commands.command("list")
@organization_option
@as_json_option
def list_providers(organization: str, as_json: bool) -> None:
    """List the organization's own OpenID provider, if there is one."""
    with open_organization(organization) as (_, database):
        provider_rows = database.fetch("openid/get_provider")
    show([openid_providers.represent(provider_row) for provider_row in provider_rows], as_json)


@commands.command("update")
@require_confirmation
@organization_option
@add_member_options(openid_providers.OpenidProviderChangeSchema())
@as_json_option
def update_provider(organization: str, as_json: bool, **options: Any) -> None:
    """Change the OpenID provider and print it. Omitted options keep their values. The issuer cannot be changed."""
    schema = openid_providers.OpenidProviderChangeSchema()
    change = schema.load(read_options(schema, options))
    with open_organization(organization) as (services, database):
        provider_row = _find_provider(database)
        confirm(lambda: describe_ended_sign_ins(provider_row.issuer, 0))
        provider_id = provider_row.openid_provider_id
        with begin_transaction(services, database) as transaction:
            updated_row = openid_providers.update_provider(transaction, services.settings, provider_id, change)
    show_object(openid_providers.represent(updated_row), as_json)


@commands.command("delete")
@require_confirmation
@organization_option
def delete_provider(organization: str) -> None:
    """Delete the organization's own OpenID provider. All grants by people of this provider end."""
    with open_organization(organization) as (services, database):
        provider_row = _find_provider(database)
        [[grant_count_row]] = database.run(build_count_grants_call(issuer=provider_row.issuer))
        consequences = describe_ended_sign_ins(provider_row.issuer, grant_count_row.grants)
        confirm(lambda: f"This deletes the OpenID provider {provider_row.issuer}. {consequences}")
        with begin_transaction(services, database) as transaction:
            openid_providers.remove_provider(transaction, provider_row.openid_provider_id)


def _find_provider(database: OrganizationDatabase) -> Any:
    provider_rows = database.fetch("openid/get_provider")
    if not provider_rows:
        raise ConfigurationError("the organization has no OpenID provider of its own")
    return provider_rows[0]
