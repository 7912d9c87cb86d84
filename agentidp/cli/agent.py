"""``agentidp agent``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from agentidp.analytics import impact
from agentidp.cli.confirmation import asks_first, confirm, count, dry_run_option, recent_tokens
from agentidp.cli.context import opened
from agentidp.cli.named import AgentOf, agent_named, organization_named
from agentidp.cli.options import as_json_option, number_or_none, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.http.errors import NotFound, existing
from agentidp.maintenance.erasure import erase_agent
from agentidp.registry import agents, credentials
from agentidp.services import Services

agent_argument = click.argument("agent", metavar="ID|NAME")


def text_options(is_new: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option for each of :data:`agentidp.registry.agents.TEXTS`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for member, text in reversed(agents.TEXTS.items()):
            about = f"{text.metadata['description']}." if is_new else f"The new {text.words}; empty to remove it."
            option = f"--{text.words.replace(' ', '-')}"
            command = click.option(option, member, default="" if is_new else None, help=about)(command)
        return command

    return decorate


replicas_option = click.option(
    "--expected-replicas",
    "expectedReplicas",
    metavar="N|none",
    callback=number_or_none(agents.MIN_REPLICAS, agents.MAX_REPLICAS),
    help="How many instances of it run, so that their tokens are not reported as waste.",
)


*_TEXTS, _LAST_TEXT = "name", "description", *(text.words for text in agents.TEXTS.values())
ERASED = f"{', '.join(_TEXTS)} and {_LAST_TEXT}"
"""The texts of an agent, as part of a sentence."""


@click.group(
    "agent",
    help=f"""Agents: an agent's id is its client_id.

    Agents are printed as: id, name, description, scopes, status, whether tokens are bound to a key, times of creation
    and of the last change, {", ".join(column.replace("_", " ") for column in agents.LAST.values())},
    when it will be suspended because it is dormant.
    """,
)
def commands() -> None:
    """All commands about agents."""


@commands.command("create")
@click.argument("name")
@organization_option
@click.option("--description", default="", help="For people.")
@text_options(is_new=True)
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
def create(organization: str, scopes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Register the agent NAME and print its id."""
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        new = _members(options, scopes)
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = agents.add_agent(transaction, **agents.NewAgentSchema().load(new), most=services.settings.max_agents)
    body = agents.represent(row)
    show([body if as_json else {"agentId": body["agentId"]}], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List the agents of an organization, oldest first."""
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        database = services.database.of(organization_id, utc_now())
        rows = database.fetch("agents/list_agents", after_at=None, after_id=None, limit=None)
    columns = ("agentId", "name", "status", "owner", "createdAt", "scopes")
    show([agents.represent(row, row.suspends_at) for row in rows], as_json, columns=columns)


@commands.command("show")
@agent_argument
@as_json_option
def show_(agent: str, as_json: bool) -> None:
    """Print an agent."""
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        row = existing(database.fetch("agents/get_agent", agent_id=agent_id))
    show([agents.represent(row, row.suspends_at)], as_json, one=True)


@commands.command("update")
@agent_argument
@click.option("--name", help="The new name.")
@click.option("--description", help="The new description; empty to remove it.")
@text_options(is_new=False)
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
def update(agent: str, scopes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change an agent and print it. What is left out stays."""
    change = _members(options, scopes)
    if not change:
        raise click.UsageError("name something to change")
    with opened() as services:
        _change(services, agent_named(services, agent), change, as_json)


@commands.command("suspend")
@asks_first
@agent_argument
@dry_run_option
@as_json_option
def suspend(agent: str, is_dry_run: bool, as_json: bool) -> None:
    """Suspend an agent and print it. It gets no token, and the tokens that it has stop working at once."""
    with opened() as services:
        found = agent_named(services, agent)
        confirm(
            lambda: (
                f"This suspends {_described(services, found)}. It gets no token, and those that it has stop working at "
                f"once, until agentidp agent resume {found.agent_id} ends that.\n{_broken(services, found)}"
            ),
            is_dry_run=is_dry_run,
        )
        _change(services, found, {"status": "suspended"}, as_json)


@commands.command("resume")
@agent_argument
@as_json_option
def resume(agent: str, as_json: bool) -> None:
    """End the suspension of an agent and print it. Its tokens that have not expired work again."""
    with opened() as services:
        _change(services, agent_named(services, agent), {"status": "active"}, as_json)


def _members(options: dict[str, Any], scopes: tuple[str, ...]) -> dict[str, Any]:
    """What is given, as the JSON of our API."""
    given = {name: value for name, value in options.items() if value is not None}
    if "expectedReplicas" in given:
        given["expectedReplicas"] = given["expectedReplicas"] or None
    return given | ({"scopes": list(scopes)} if scopes else {})


def _change(services: Services, found: AgentOf, change: dict[str, Any], as_json: bool) -> None:
    with services.database.of(found.organization_id, utc_now()).transaction() as transaction:
        row = agents.update_agent(transaction, found.agent_id, agents.AgentChangeSchema().load(change))
    show([agents.represent(row)], as_json, one=True)


def _described(services: Services, found: AgentOf, *, is_deleted: bool = False) -> str:
    """The agent and what it was issued, as part of a sentence.

    :raises NotFound: there is no such agent, or it is deleted and should not be.
    """
    database = services.database.of(found.organization_id, utc_now())
    [organization] = database.fetch("organizations/get_organization")
    agent = existing(database.fetch("analytics/agent_activity", agent_id=found.agent_id, days=1))
    if (agent.status == "deleted") != is_deleted:
        raise NotFound
    deleted, tokens = "deleted " if is_deleted else "", recent_tokens(database, found.agent_id)
    return f"the {deleted}agent {agent.agent_name} of {organization.name}, which was issued {tokens}"


def _broken(services: Services, found: AgentOf) -> str:
    """Who would notice that the agent gets no token: a line a sentence."""
    database = services.database.of(found.organization_id, utc_now())
    used, servers = database.run(impact.use_of_agent(database.at, found.agent_id), impact.RESOURCE_SERVERS)
    lifetimes = impact.Lifetimes(servers, services.settings.token_ttl, database.at)
    of_it = impact.agent_impact(used, database.at, lifetimes)
    return "\n".join(impact.sentences(of_it, services.settings.resource))


@commands.command("delete")
@asks_first
@agent_argument
@dry_run_option
def delete(agent: str, is_dry_run: bool) -> None:
    """Delete an agent and revoke its credentials. Its tokens stop working at once; its usage stays counted."""
    with opened() as services:
        found = agent_named(services, agent)
        database = services.database.of(found.organization_id, utc_now())

        def consequences() -> str:
            held = credentials.present(database.fetch("agents/list_credentials", agent_id=found.agent_id))
            return (
                f"This deletes {_described(services, found)}. It revokes its {count(len(held), 'credential')}, and its "
                "tokens stop working at once. Its usage stays counted. This cannot be undone.\n"
                f"{_broken(services, found)}"
            )

        confirm(consequences, is_dry_run=is_dry_run)
        # Not the instant of before: whoever was asked may have taken an hour.
        with services.database.of(found.organization_id, utc_now()).transaction() as transaction:
            agents.remove_agent(transaction, found.agent_id)


@commands.command(
    "erase",
    help=f"""Erase the texts of a deleted agent, also from the audit trail. Its usage stays counted.

    These are its {ERASED}, the labels of its credentials, and notes and findings about it.
    """,
)
@asks_first
@agent_argument
def erase(agent: str) -> None:
    """Ask, and erase."""
    with opened() as services:
        found = agent_named(services, agent, is_deleted=True)
        if services.database.of(found.organization_id, utc_now()).fetch("agents/get_agent", agent_id=found.agent_id):
            raise click.ClickException("delete the agent first: only a deleted agent can be erased")
        confirm(
            lambda: (
                f"This erases {_described(services, found, is_deleted=True)}. Its {ERASED}, the "
                "labels of its credentials, and notes and findings about it are erased, also from the audit trail. Its "
                "usage stays counted. This cannot be undone."
            )
        )
        url = str(services.settings.database_url)
        erase_agent(url, found.organization_id, found.agent_id, at=utc_now())
