"""``agentidp agent``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from agentidp.analytics import agent_rejections, impact
from agentidp.analytics.period import Period
from agentidp.cli.confirmation import confirm, describe_recent_tokens, dry_run_option, require_confirmation
from agentidp.cli.lookup import begin_transaction, find_and_open_agent, open_organization
from agentidp.cli.options import (
    WholeNumber,
    add_member_options,
    as_json_option,
    describe_fields,
    list_column_names,
    organization_option,
    read_options,
)
from agentidp.cli.output import show, show_object
from agentidp.clock import utc_now
from agentidp.counting import KEEP_NETWORKS
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.errors import NotFound, require_row
from agentidp.http.schemas import Text
from agentidp.http.text import format_count
from agentidp.maintenance.erasure import erase_agent
from agentidp.registry import agents, credentials
from agentidp.services import Services

agent_argument = click.argument("agent", metavar="ID|NAME")

*_TEXTS, _LAST_TEXT = (field.words for field in agents.AgentFields().fields.values() if isinstance(field, Text))
ERASED_FIELDS = f"{', '.join(_TEXTS)} and {_LAST_TEXT}"
"""Names of the fields that ``agentidp agent erase`` erases, separated by commas and "and"."""

commands = click.Group(
    "agent",
    help=f"""Agents: an agent's id is its client_id.

    Agents are printed as: {describe_fields(agents.AgentSchema)}.
    """,
)


@commands.command("create")
@click.argument("name")
@organization_option
@add_member_options(agents.NewAgentSchema(exclude=["name"]))
@as_json_option
def create_agent(organization: str, as_json: bool, **options: Any) -> None:
    """Register the agent NAME and print its id."""
    with open_organization(organization) as (services, database):
        new_agent = agents.NewAgentSchema().load(read_options(agents.NewAgentSchema(), options))
        with database.transaction() as transaction:
            agent_row = agents.add_agent(transaction, **new_agent, max_agents=services.settings.max_agents)
    show_object(agents.represent(agent_row), as_json, members=["agentId"])


@commands.command("list")
@organization_option
@as_json_option
def list_agents(organization: str, as_json: bool) -> None:
    """List the agents of an organization, oldest first."""
    with open_organization(organization) as (_, database):
        agent_rows = database.fetch(
            "agents/list_agents", after_at=None, after_id=None, name=None, owner=None, limit=None
        )
    table_columns = ("agentId", "name", "status", *list_column_names(agents.AgentSchema), "createdAt", "scopes")
    show([agents.represent(agent_row) for agent_row in agent_rows], as_json, columns=table_columns)


@commands.command("show")
@agent_argument
@as_json_option
def show_agent(agent: str, as_json: bool) -> None:
    """Print an agent."""
    with find_and_open_agent(agent) as (_, database, agent_id):
        agent_row = require_row(database.fetch("agents/get_agent", agent_id=agent_id))
    show_object(agents.represent(agent_row), as_json)


@commands.command("rejections")
@agent_argument
@click.option("--days", type=WholeNumber(1, KEEP_NETWORKS), default=7, show_default=True, help="Days, today included.")
@as_json_option
def show_rejections(agent: str, days: int, as_json: bool) -> None:
    """Show why requests of an agent failed to authenticate, from which networks they came, and what to do.

    The newest day comes first.

    Prints: day (UTC), reason, network, number of failures, time of the last failure, what to do.
    """
    with find_and_open_agent(agent) as (_, database, agent_id):
        rejection_rows = database.run(agent_rejections.build_rejections_call(agent_id, Period.of(days, database.at)))[0]
    show(agent_rejections.represent_rejections(rejection_rows), as_json)


@commands.command("update")
@agent_argument
@add_member_options(agents.AgentChangeSchema(exclude=["status"]))
@as_json_option
def update_agent(agent: str, as_json: bool, **options: Any) -> None:
    """Change an agent and print it. Omitted options keep their values."""
    change = read_options(agents.AgentChangeSchema(), options)
    with find_and_open_agent(agent) as (services, database, agent_id):
        _change_and_print_agent(services, database, agent_id, change, as_json)


@commands.command("suspend")
@require_confirmation
@agent_argument
@dry_run_option
@as_json_option
def suspend_agent(agent: str, is_dry_run: bool, as_json: bool) -> None:
    """Suspend an agent and print it. The agent gets no further token, and its tokens stop working at once."""
    with find_and_open_agent(agent) as (services, database, agent_id):
        confirm(
            lambda: (
                f"This suspends {_describe_agent(database, agent_id)}. The agent gets no token, and its current tokens "
                f"stop working at once. To end the suspension, run agentidp agent resume {agent_id}.\n"
                f"{_describe_impact(services, database, agent_id)}"
            ),
            is_dry_run=is_dry_run,
        )
        _change_and_print_agent(services, database, agent_id, {"status": "suspended"}, as_json)


@commands.command("resume")
@agent_argument
@as_json_option
def resume_agent(agent: str, as_json: bool) -> None:
    """End the suspension of an agent and print it. The agent's tokens that have not expired work again."""
    with find_and_open_agent(agent) as (services, database, agent_id):
        _change_and_print_agent(services, database, agent_id, {"status": "active"}, as_json)


def _change_and_print_agent(
    services: Services, database: OrganizationDatabase, agent_id: UUID, change: dict[str, Any], as_json: bool
) -> None:
    with begin_transaction(services, database) as transaction:
        agent_row = agents.update_agent(transaction, agent_id, agents.AgentChangeSchema().load(change))
    show_object(agents.represent(agent_row), as_json)


def _describe_agent(database: OrganizationDatabase, agent_id: UUID, *, is_deleted: bool = False) -> str:
    """Return an agent's name and recent tokens as part of a sentence.

    :raises NotFound: the agent does not exist, or *is_deleted* is wrong.
    """
    [organization_row] = database.fetch("organizations/get_organization")
    bounds_of_today = Period.of(1, database.at).bounds
    agent_row = require_row(database.fetch("analytics/agent_activity", agent_id=agent_id, **bounds_of_today))
    if (agent_row.status == "deleted") != is_deleted:
        raise NotFound
    agent_noun, recent_tokens = "deleted agent" if is_deleted else "agent", describe_recent_tokens(database, agent_id)
    return f"the {agent_noun} {agent_row.agent_name} of {organization_row.name}, which was issued {recent_tokens}"


def _describe_impact(services: Services, database: OrganizationDatabase, agent_id: UUID) -> str:
    agent_impact = impact.read_agent_impact(database.run, agent_id, database.at, services.settings.token_ttl)
    return "\n".join(agent_impact.summary)


@commands.command("end-tokens")
@require_confirmation
@agent_argument
@dry_run_option
def end_agent_tokens(agent: str, is_dry_run: bool) -> None:
    """End all tokens that were issued to an agent before now. The agent can get new tokens."""
    with find_and_open_agent(agent) as (services, database, agent_id):
        confirm(
            lambda: (
                f"This ends the tokens of {_describe_agent(database, agent_id)}. All tokens that were issued to the "
                "agent before now stop working at once, and the agent is signed out of the dashboard. The agent can "
                "get new tokens, so revoke a leaked credential as well.\n"
                f"{_describe_impact(services, database, agent_id)}"
            ),
            is_dry_run=is_dry_run,
        )
        with begin_transaction(services, database) as transaction:
            agents.end_tokens(transaction, agent_id, services.clock)


@commands.command("delete")
@require_confirmation
@agent_argument
@dry_run_option
def delete_agent(agent: str, is_dry_run: bool) -> None:
    """Delete an agent and revoke its credentials. The agent's tokens stop working at once. Its usage is kept."""
    with find_and_open_agent(agent) as (services, database, agent_id):

        def describe_consequences() -> str:
            credential_rows = credentials.select_credentials(
                database.fetch("agents/list_credentials", agent_id=agent_id)
            )
            return (
                f"This deletes {_describe_agent(database, agent_id)}, and revokes "
                f"{format_count(len(credential_rows), 'credential')}. The agent's tokens stop working at once. Its "
                f"usage is kept. A deletion cannot be undone.\n{_describe_impact(services, database, agent_id)}"
            )

        confirm(describe_consequences, is_dry_run=is_dry_run)
        with begin_transaction(services, database) as transaction:
            agents.remove_agent(transaction, agent_id)


@commands.command(
    "erase",
    help=f"""Erase what people wrote about a deleted agent, also from the audit trail. Its usage is kept.

    Erases its {ERASED_FIELDS}, the labels of its credentials, and notes and findings about it.
    """,
)
@require_confirmation
@agent_argument
def erase_agent_texts(agent: str) -> None:
    """Ask for confirmation, and erase what people wrote about a deleted agent."""
    with find_and_open_agent(agent, is_deleted=True) as (services, database, agent_id):
        if database.fetch("agents/get_agent", agent_id=agent_id):
            raise click.ClickException("only a deleted agent can be erased, so delete the agent first")
        confirm(
            lambda: (
                f"This erases what people wrote about {_describe_agent(database, agent_id, is_deleted=True)}: its "
                f"{ERASED_FIELDS}. The labels of the agent's credentials, and notes and findings about the agent, are "
                "erased as well, also from the audit trail. The agent's usage is kept. An erasure cannot be undone."
            )
        )
        erase_agent(str(services.settings.database_url), database.organization_id, agent_id, at=utc_now())
