"""``agentidp agent``."""

from __future__ import annotations

from typing import Any

import click
import marshmallow as ma

from agentidp import utc_now
from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import show
from agentidp.config import ConfigurationError
from agentidp.registry import agents
from agentidp.scopes import SCOPES


@click.group("agent")
def commands() -> None:
    """Agents: an agent's id is its client_id."""


@commands.command("create")
@click.argument("name")
@organization_option
@click.option("--description", default="", help="For people.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(SCOPES)),
    help="May be given several times; analytics:read and agents:read when left out.",
)
@as_json_option
def create(name: str, organization_id: str, description: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Register the agent NAME and print its id."""
    with opened() as services:
        organization_named(services, organization_id)
        new = {"name": name, "description": description, **({"scopes": list(scopes)} if scopes else {})}
        try:
            loaded = agents.NewAgentSchema().load(new)
        except ma.ValidationError as error:
            messages: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
            field, rules = next(iter(messages.items()))
            raise ConfigurationError(f"{field} {rules[0] if isinstance(rules, list) else rules}") from None
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = agents.add_agent(transaction, **loaded)
    body = agents.represent(row)
    show([body if as_json else {"agentId": body["agentId"]}], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization_id: str, as_json: bool) -> None:
    """List the agents of an organization, oldest first: id, name, description, scopes, status, times."""
    with opened() as services:
        organization_named(services, organization_id)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            rows = transaction.fetch(
                "agents/list_agents",
                after_at=None,
                after_id=None,
                limit=None,
            )
    show([agents.represent(row) for row in rows], as_json)
