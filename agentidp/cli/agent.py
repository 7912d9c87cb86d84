"""``agentidp agent``."""

from __future__ import annotations

from typing import Any

import click

from agentidp.analytics import impact
from agentidp.analytics.period import Period
from agentidp.cli.confirmation import asks_first, confirm, count, dry_run_option, recent_tokens
from agentidp.cli.context import opened
from agentidp.cli.named import AgentOf, agent_named, organization_named
from agentidp.cli.options import as_json_option, given, listed, member_options, organization_option, printed
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.http.errors import NotFound, existing
from agentidp.http.schemas import Text
from agentidp.maintenance.erasure import erase_agent
from agentidp.registry import agents, credentials
from agentidp.services import Services

agent_argument = click.argument("agent", metavar="ID|NAME")


*_TEXTS, _LAST_TEXT = (field.words for field in agents.AgentFields().fields.values() if isinstance(field, Text))
ERASED = f"{', '.join(_TEXTS)} and {_LAST_TEXT}"
"""The names of an agent's text fields, as part of a sentence."""


@click.group(
    "agent",
    help=f"""Agents: an agent's id is its client_id.

    Agents are printed as: {printed(agents.AgentSchema)}.
    """,
)
def commands() -> None:
    """All commands about agents."""


@commands.command("create")
@click.argument("name")
@organization_option
@member_options(agents.NewAgentSchema(exclude=["name"]))
@as_json_option
def create(organization: str, as_json: bool, **options: Any) -> None:
    """Register the agent NAME and print its id."""
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        new = agents.NewAgentSchema().load(given(agents.NewAgentSchema(), options))
        with services.database.of(organization_id, utc_now()).transaction() as transaction:
            row = agents.add_agent(transaction, **new, most=services.settings.max_agents)
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
    columns = ("agentId", "name", "status", *listed(agents.AgentSchema), "createdAt", "scopes")
    show([agents.represent(row) for row in rows], as_json, columns=columns)


@commands.command("show")
@agent_argument
@as_json_option
def show_(agent: str, as_json: bool) -> None:
    """Print an agent."""
    with opened() as services:
        organization_id, agent_id = agent_named(services, agent)
        database = services.database.of(organization_id, utc_now())
        row = existing(database.fetch("agents/get_agent", agent_id=agent_id))
    show([agents.represent(row)], as_json, one=True)


@commands.command("update")
@agent_argument
@member_options(agents.AgentChangeSchema(exclude=["status"]))
@as_json_option
def update(agent: str, as_json: bool, **options: Any) -> None:
    """Change an agent and print it. Omitted options keep their values."""
    change = given(agents.AgentChangeSchema(), options)
    with opened() as services:
        _change(services, agent_named(services, agent), change, as_json)


@commands.command("suspend")
@asks_first
@agent_argument
@dry_run_option
@as_json_option
def suspend(agent: str, is_dry_run: bool, as_json: bool) -> None:
    """Suspend an agent and print it. It gets no further token, and its tokens stop working at once."""
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


def _change(services: Services, found: AgentOf, change: dict[str, Any], as_json: bool) -> None:
    with services.database.of(found.organization_id, utc_now()).transaction() as transaction:
        row = agents.update_agent(transaction, found.agent_id, agents.AgentChangeSchema().load(change))
    show([agents.represent(row)], as_json, one=True)


def _described(services: Services, found: AgentOf, *, is_deleted: bool = False) -> str:
    """Return the agent's name and its recent tokens, as part of a sentence.

    :param is_deleted: whether the agent must be deleted or must not be.
    :raises NotFound: there is no such agent.
    """
    database = services.database.of(found.organization_id, utc_now())
    [organization] = database.fetch("organizations/get_organization")
    today = Period.of(1, database.at).bounds
    agent = existing(database.fetch("analytics/agent_activity", agent_id=found.agent_id, **today))
    if (agent.status == "deleted") != is_deleted:
        raise NotFound
    deleted, tokens = "deleted " if is_deleted else "", recent_tokens(database, found.agent_id)
    return f"the {deleted}agent {agent.agent_name} of {organization.name}, which was issued {tokens}"


def _broken(services: Services, found: AgentOf) -> str:
    """Return what breaks if the agent gets no token, one line per sentence."""
    database = services.database.of(found.organization_id, utc_now())
    broken = impact.of_agent(database.run, found.agent_id, database.at, services.settings.token_ttl)
    return "\n".join(impact.sentences(broken))


@commands.command("delete")
@asks_first
@agent_argument
@dry_run_option
def delete(agent: str, is_dry_run: bool) -> None:
    """Delete an agent and revoke its credentials. Its tokens stop working at once. Its usage stays counted."""
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
        # Read the clock again, because the confirmation may have taken an hour.
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
    """Ask for confirmation, and erase."""
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
