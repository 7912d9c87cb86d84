"""``agentidp keys``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from agentidp.alerts import target_secrets
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.options import as_json_option
from agentidp.cli.output import show, show_activity, show_object
from agentidp.clock import utc_now
from agentidp.http.schemas import timestamp
from agentidp.http.text import format_count
from agentidp.jose import key_rotation
from agentidp.registry import openid_providers, organizations
from agentidp.services import Services

commands = click.Group("keys", help="The keys that sign tokens.")


@commands.command("rotate")
@as_json_option
def rotate_signing_key(as_json: bool) -> None:
    """Publish a new signing key and print it. The key signs tokens once clients no longer cache an older JWKS."""
    with open_services() as services:
        kid = key_rotation.rotate_keys(services.settings, at=utc_now())
        [new_key] = [key_row for key_row in _list_keys(services) if key_row["kid"] == kid]
    show_object(new_key, as_json)


class _KidCommand(click.Command):
    """A command with a ``kid`` as its argument. One ``kid`` in 64 begins with "-", like the name of an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse an argument as an option only if it is the name of an option. Any other argument is a ``kid``."""
        option_names = {option_name for parameter in self.get_params(ctx) for option_name in parameter.opts}
        option_arguments = [argument for argument in args if argument in option_names]
        kid_arguments = [argument for argument in args if argument not in {*option_names, "--"}]
        return super().parse_args(ctx, [*option_arguments, "--", *kid_arguments])


@commands.command("revoke", cls=_KidCommand)
@require_confirmation
@click.argument("kid")
@as_json_option
def revoke_signing_key(kid: str, as_json: bool) -> None:
    """Revoke the key KID. All tokens that the key signed stop working.

    A revocation cannot be undone. The key disappears from the JWKS within seconds. To replace a key without ending its
    tokens, use agentidp keys rotate. Prints the key. If KID was the signing key, prints the new signing key first.
    """
    with open_services(checks_keys=False) as services:
        confirm(lambda: _describe_revocation(services, kid))
        new_kid = key_rotation.revoke_key(services.settings, kid, at=utc_now())
        shown_keys = [key_row for key_row in _list_keys(services) if key_row["kid"] in (kid, new_kid)]
    show(shown_keys, as_json)
    if new_kid is not None:
        click.echo(
            f"Warning: the new key {new_kid} already signs tokens. A client with a cached JWKS refuses these tokens "
            "until the client fetches the JWKS again.",
            err=True,
        )


@commands.command("reencrypt")
def reencrypt_secrets() -> None:
    """Encrypt all stored keys and secrets under a new instance secret.

    The signing keys, the addresses and keys of alert targets, and the client secrets of OpenID providers are decrypted
    with AGENTIDP_SECRET_KEY_PREVIOUS and encrypted with AGENTIDP_SECRET_KEY.
    """
    with open_services() as services, show_activity("Encrypting the keys again"):
        counts_by_kind = {
            "signing keys": key_rotation.reencrypt_keys(services.settings, at=utc_now()),
            "alert targets": target_secrets.reencrypt(services.settings),
            "client secrets of OpenID providers": openid_providers.reencrypt_secrets(services.settings),
        }
    for kind, (changed_count, total_count) in counts_by_kind.items():
        if total_count or kind == "signing keys":
            click.echo(f"Re-encrypted {changed_count} of {total_count} {kind}.")


@commands.command("list")
@as_json_option
def list_signing_keys(as_json: bool) -> None:
    """List the signing keys, newest first.

    Prints: kid, alg, creation time, time of the first signature, status. The exit code is 1 if the instance secret does
    not decrypt the signing key.
    """
    with open_services(checks_keys=False) as services:
        show(_list_keys(services), as_json)
        key_rotation.ensure_signing_key(services.settings, at=utc_now())


def _describe_revocation(services: Services, kid: str) -> str:
    now = utc_now()
    statuses_by_kid = {key["kid"]: key["status"] for key in key_rotation.describe_keys(services.settings, at=now)}
    if kid not in statuses_by_kid:
        raise key_rotation.build_unknown_key_error(kid)
    effect = {
        "signing": "This key signs the tokens now. All tokens that the key signed stop working at once.",
        "verifying": "Tokens that were signed before the key was replaced stop working at once.",
        "next": "No token stops working, because the key has not signed a token yet.",
    }.get(statuses_by_kid[kid], f"The key is {statuses_by_kid[kid]}, so no valid token depends on the key.")
    organization_rows = organizations.list_organizations(str(services.settings.database_url))
    databases = [services.database.of(organization_row.organization_id, now) for organization_row in organization_rows]
    token_count = sum(usage_row.tokens_today for database in databases for usage_row in database.fetch("metrics/usage"))
    return (
        f"This revokes the signing key {kid}. {effect} Today {format_count(len(organization_rows), 'organization')} "
        f"got {format_count(token_count, 'token')}. By default a token is valid for "
        f"{format_count(services.settings.token_ttl, 'second')}. A revocation cannot be undone. To replace the signing "
        "key without ending any token, use agentidp keys rotate."
    )


def _list_keys(services: Services) -> list[dict[str, Any]]:
    return [
        {member_name: timestamp(value) if isinstance(value, datetime) else value for member_name, value in key.items()}
        for key in key_rotation.describe_keys(services.settings, at=utc_now())
    ]
