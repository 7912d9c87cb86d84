"""``agentidp credential``."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import click

from agentidp import utc_now
from agentidp.cli.context import opened
from agentidp.cli.options import agent_option, as_json_option, organization_of
from agentidp.cli.output import show
from agentidp.config import ConfigurationError
from agentidp.registry import credentials


@click.group("credential")
def commands() -> None:
    """Credentials: the secrets with which an agent gets tokens."""


@commands.command("create")
@agent_option
@click.option("--expires-in", type=click.IntRange(1, 36_500), metavar="DAYS", help="Never, when left out.")
@as_json_option
def create(agent_id: UUID, expires_in: int | None, as_json: bool) -> None:
    """Make a credential; its secret is printed now and never again: credential id, client_id, client_secret."""
    at = utc_now()
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row, client_secret = credentials.add_credential(
                transaction,
                agent_id,
                expires_at=at + timedelta(days=expires_in) if expires_in else None,
            )
    body = credentials.represent(row)
    shown = {"credentialId": body["credentialId"], "clientId": str(agent_id), "clientSecret": client_secret}
    show([body | shown if as_json else shown], as_json, one=True)


@commands.command("revoke")
@click.argument("credential_id", type=click.UUID)
@agent_option
def revoke(credential_id: UUID, agent_id: UUID) -> None:
    """Revoke a credential: it gets no further token."""
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            revoked = transaction.fetch(
                "agents/revoke_credential",
                agent_id=agent_id,
                credential_id=credential_id,
            )
        if not revoked:
            raise ConfigurationError(f"the agent has no credential {credential_id}")
