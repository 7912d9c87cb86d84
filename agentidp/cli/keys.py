"""``agentidp keys``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from agentidp.alerts import target_secrets
from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.http.schemas import timestamp
from agentidp.jose import key_rotation


@click.group("keys")
def commands() -> None:
    """The keys that sign tokens."""


@commands.command("rotate")
@as_json_option
def rotate(as_json: bool) -> None:
    """Publish a new key; it signs once no client can still hold an older JWKS. Prints its kid."""
    with opened() as services:
        kid = key_rotation.rotate(services.settings, at=utc_now())
        [new] = [key for key in key_rotation.describe(services.settings, at=utc_now()) if key["kid"] == kid]
    _show_keys([new], as_json, one=True)


# One key in 64 begins with "-", which is no option.
@commands.command("revoke", context_settings={"ignore_unknown_options": True})
@click.argument("kid")
@as_json_option
def revoke(kid: str, as_json: bool) -> None:
    """Revoke the key KID permanently: within seconds it is in no JWKS, and no token that it signed is accepted.

    Prints the key; and if it was the one that signs tokens, first the new key that signs them from now on.
    """
    with opened() as services:
        new = key_rotation.revoke(services.settings, kid, at=utc_now())
        shown = [key for key in key_rotation.describe(services.settings, at=utc_now()) if key["kid"] in (kid, new)]
    _show_keys(shown, as_json)
    if new is not None:
        click.echo(
            f"Warning: the new key {new} signs at once. A client that caches the JWKS refuses its tokens until it "
            "fetches the JWKS again.",
            err=True,
        )


@commands.command("reencrypt")
def reencrypt() -> None:
    """Encrypt the keys under AGENTIDP_SECRET_KEY that are encrypted under AGENTIDP_SECRET_KEY_PREVIOUS.

    The addresses and keys of alert targets as well.
    """
    with opened() as services:
        count, of = key_rotation.reencrypt(services.settings, at=utc_now())
        click.echo(f"Re-encrypted {count} of {of} signing keys.")
        count, of = target_secrets.reencrypt(services.settings)
        if of:
            click.echo(f"Re-encrypted {count} of {of} alert targets.")


@commands.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the keys, newest first: kid, alg, creation time, time of the first signature, status."""
    with opened() as services:
        _show_keys(key_rotation.describe(services.settings, at=utc_now()), as_json)


def _show_keys(found: list[dict[str, Any]], as_json: bool, *, one: bool = False) -> None:
    rows = [{k: timestamp(v) if isinstance(v, datetime) else v for k, v in key.items()} for key in found]
    show(rows, as_json, one=one)
