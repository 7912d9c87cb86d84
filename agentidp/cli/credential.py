"""``agentidp credential``."""

from __future__ import annotations

from datetime import timedelta

import click

from agentidp.cli.confirmation import asks_first, confirm, recent_tokens
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, agent_named, one_of
from agentidp.cli.options import agent_option, as_json_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.http.schemas import timestamp
from agentidp.registry import credentials

MAX_LIFETIME_DAYS = 36_500
"""A hundred years, so that the time of expiry is a date that Python has. The API takes any time in the future."""

SHOWN = ("credentialId", "label", "type", "createdAt", "expiresAt", "lastUsedAt")
"""What a list shows of a credential, unless it is JSON."""


@click.group("credential")
def commands() -> None:
    """Credentials: secrets or keys with which agents get tokens."""


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
def create(agent: str, label: str | None, expires_in: int | None, as_json: bool) -> None:
    """Create a credential. Its secret is printed now and never again.

    Prints: credential id, client_id, client_secret.
    """
    at = utc_now()
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
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
    show([body | shown if as_json else shown], as_json, one=True, only_now=["clientSecret"])


@commands.command("list")
@agent_option
@as_json_option
def list_(agent: str, as_json: bool) -> None:
    """List an agent's credentials that are not revoked, oldest first.

    Prints: id, label, type, times of creation, of expiry and of the last use, which is exact to the minute.
    """
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        rows = credentials.present(database.fetch("agents/list_credentials", agent_id=agent_id))
    found = [credentials.represent(row) for row in rows]
    if not as_json:
        found = [{name: credential[name] for name in SHOWN} for credential in found]
    show(found, as_json)


@commands.command("revoke")
@asks_first
@click.argument("credential", metavar="ID|LABEL")
@agent_option
def revoke(credential: str, agent: str) -> None:
    """Revoke a credential: it gets no further token."""
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        rows = credentials.present(database.fetch("agents/list_credentials", agent_id=agent_id))
        known = [Candidate(str(row.credential_id), [row.label] if row.label else [], row) for row in rows]
        found = one_of(credential, known, kind="credential", owner="the agent")

        def consequences() -> str:
            name = f"{found.credential_id} ({found.label})" if found.label else found.credential_id
            used = f"last used at {timestamp(found.last_used_at)}" if found.last_used_at else "never used"
            left = "Its others stay." if len(rows) > 1 else "The agent has no other."
            return (
                f"This revokes the credential {name}, {used}. Its agent was issued "
                f"{recent_tokens(database, agent_id)}. {left} This cannot be undone."
            )

        confirm(consequences)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            credentials.end_credential(transaction, agent_id, found.credential_id)
