"""``agentidp agent``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_of, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.erasure import erase_agent
from agentidp.http.errors import NotFound, existing
from agentidp.registry import agents

id_argument = click.argument("agent_id", type=click.UUID, metavar="ID")


def _replicas(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """The number, or 0 for none: ``None`` says that the option is left out."""
    if text is None or text == "none":
        return None if text is None else 0
    digits = text if text.isascii() and text.isdecimal() and len(text) < 9 else "0"
    if not agents.MIN_REPLICAS <= int(digits) <= agents.MAX_REPLICAS:
        raise click.BadParameter(f"must be a whole number from {agents.MIN_REPLICAS} to {agents.MAX_REPLICAS}, or none")
    return int(digits)


replicas_option = click.option(
    "--expected-replicas",
    "expectedReplicas",
    metavar="N|none",
    callback=_replicas,
    help="How many instances of it run, so that their tokens are not reported as waste.",
)


@click.group("agent")
def commands() -> None:
    """Agents: an agent's id is its client_id.

    Agents are printed as: id, name, description, scopes, status, whether tokens are bound to a key, times of creation
    and of the last change, owner, expected replicas.
    """


@commands.command("create")
@click.argument("name")
@organization_option
@click.option("--description", default="", help="For people.")
@click.option("--owner", default="", help="Whom to ask about it: a person, a team or an address.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="Of AgentIdP's API or of a resource server of the organization; may be given several times. "
    "Default: analytics:read and agents:read.",
)
@replicas_option
@as_json_option
def create(organization_id: str, scopes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Register the agent NAME and print its id."""
    with opened() as services:
        organization_named(services, organization_id)
        new = _members(options, scopes)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = agents.add_agent(transaction, **agents.NewAgentSchema().load(new))
    body = agents.represent(row)
    show([body if as_json else {"agentId": body["agentId"]}], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization_id: str, as_json: bool) -> None:
    """List the agents of an organization, oldest first."""
    with opened() as services:
        organization_named(services, organization_id)
        database = services.database.of(organization_id, utc_now())
        rows = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=None)
    show([agents.represent(row) for row in rows], as_json)


@commands.command("show")
@id_argument
@as_json_option
def show_(agent_id: UUID, as_json: bool) -> None:
    """Print the agent ID."""
    with opened() as services:
        database = services.database.of(organization_of(services, agent_id), utc_now())
        row = existing(database.fetch("agents/get_agent", agent_id=agent_id))
    show([agents.represent(row)], as_json, one=True)


@commands.command("update")
@id_argument
@click.option("--name", help="The new name.")
@click.option("--description", help="The new description; empty to remove it.")
@click.option("--owner", help="The new owner; empty to remove it.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="Instead of all its scopes; may be given several times."
)
@click.option(
    "--dpop/--no-dpop",
    "dpopBoundAccessTokens",
    default=None,
    help="Whether the agent gets only tokens that are bound to a key (DPoP).",
)
@replicas_option
@as_json_option
def update(agent_id: UUID, scopes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change the agent ID and print it. What is left out stays."""
    change = _members(options, scopes)
    if not change:
        raise click.UsageError("name something to change")
    _change(agent_id, change, as_json)


@commands.command("suspend")
@id_argument
@as_json_option
def suspend(agent_id: UUID, as_json: bool) -> None:
    """Suspend the agent ID and print it: it gets no token, and the tokens that it has stop working at once."""
    _change(agent_id, {"status": "suspended"}, as_json)


@commands.command("resume")
@id_argument
@as_json_option
def resume(agent_id: UUID, as_json: bool) -> None:
    """End the suspension of the agent ID and print it. Its tokens that have not expired work again."""
    _change(agent_id, {"status": "active"}, as_json)


def _members(options: dict[str, Any], scopes: tuple[str, ...]) -> dict[str, Any]:
    """What is given, as the JSON of our API."""
    given = {name: value for name, value in options.items() if value is not None}
    if "expectedReplicas" in given:
        given["expectedReplicas"] = given["expectedReplicas"] or None
    return given | ({"scopes": list(scopes)} if scopes else {})


def _change(agent_id: UUID, change: dict[str, Any], as_json: bool) -> None:
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = agents.update_agent(transaction, agent_id, agents.AgentChangeSchema().load(change))
    show([agents.represent(row)], as_json, one=True)


@commands.command("delete")
@id_argument
def delete(agent_id: UUID) -> None:
    """Delete the agent ID and revoke its credentials. Its tokens stop working at once; its usage stays counted."""
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            agents.remove_agent(transaction, agent_id)


@commands.command("erase")
@id_argument
def erase(agent_id: UUID) -> None:
    """Erase name, description and owner of the deleted agent ID, also from the audit trail. Its usage stays counted."""
    with opened() as services:
        organization_id = organization_of(services, agent_id)
        try:
            erase_agent(str(services.settings.database_url), organization_id, agent_id, at=utc_now())
        except NotFound:
            raise click.ClickException("delete the agent first: only a deleted agent can be erased") from None
