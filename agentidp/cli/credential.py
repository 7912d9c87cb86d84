"""``agentidp credential``."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import agent_option, as_json_option, organization_of
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.http.errors import NotFound
from agentidp.registry import credentials

MAX_LIFETIME_DAYS = 36_500
"""A hundred years, so that the time of expiry is a date that Python has. The API takes any time in the future."""


@click.group("credential")
def commands() -> None:
    """Credentials: the secrets or keys with which an agent gets tokens."""


@commands.command("create")
@agent_option
@click.option("--label", help="For people: where the credential is used, for example.")
@click.option(
    "--expires-in",
    type=click.IntRange(1, MAX_LIFETIME_DAYS),
    metavar="DAYS",
    help="Days until it expires. Default: never.",
)
@as_json_option
def create(agent_id: UUID, label: str | None, expires_in: int | None, as_json: bool) -> None:
    """Create a credential; its secret is printed now and never again: credential id, client_id, client_secret."""
    at = utc_now()
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        new = credentials.NewCredentialSchema().load({} if label is None else {"label": label})
        with services.database.of(organization_id, at).transaction() as transaction:
            row, client_secret = credentials.add_credential(
                transaction,
                agent_id,
                label=new["label"],
                expires_at=at + timedelta(days=expires_in) if expires_in else None,
            )
    body = credentials.represent(row)
    shown = {"credentialId": body["credentialId"], "clientId": str(agent_id), "clientSecret": client_secret}
    show([body | shown if as_json else shown], as_json, one=True)


@commands.command("list")
@agent_option
@as_json_option
def list_(agent_id: UUID, as_json: bool) -> None:
    """List an agent's credentials that are not revoked, oldest first.

    Prints: id, label, secret or key, times of creation, of expiry and of the last use, which is exact to the minute.
    """
    with opened() as services:
        database = services.database.of(organization_of(services, agent_id), utc_now())
        rows = credentials.present(database.fetch("agents/list_credentials", agent_id=agent_id))
    found = [credentials.represent(row) for row in rows]
    if not as_json:
        found = [
            {name: _kind(value) if name == "jwks" else value for name, value in credential.items()}
            for credential in found
        ]
    show(found, as_json)


def _kind(jwks: object) -> str:
    return "secret" if jwks is None else "key"


@commands.command("revoke")
@click.argument("credential_id", type=click.UUID)
@agent_option
def revoke(credential_id: UUID, agent_id: UUID) -> None:
    """Revoke a credential: it gets no further token."""
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            try:
                credentials.end_credential(transaction, agent_id, credential_id)
            except NotFound:
                raise ConfigurationError(f"the agent has no credential {credential_id}") from None
