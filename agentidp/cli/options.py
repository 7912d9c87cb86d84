"""Options that several commands have, and the look-up of what they name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from agentidp import utc_now
from agentidp.config import ConfigurationError
from agentidp.registry import organizations
from agentidp.services import Services

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
organization_option = click.option(
    "--organization", "organization_id", required=True, metavar="ID", help="The organization's id (org-…)."
)
agent_option = click.option(
    "--agent", "agent_id", required=True, type=click.UUID, metavar="ID", help="The agent's id, its client_id."
)


def organization_named(services: Services, organization_id: str) -> Any:
    """The organization's row.

    :raises ConfigurationError: there is no such organization.
    """
    row = organizations.find_organization(services.database, organization_id, utc_now())
    if row is None:
        raise ConfigurationError(f"there is no organization {organization_id!r}")
    return row


def organization_of(services: Services, agent_id: UUID) -> str:
    """The id of the agent's organization.

    :raises ConfigurationError: there is no such agent.
    """
    organization_id = services.directory.organization_of(agent_id)
    if organization_id is None:
        raise ConfigurationError(f"there is no agent {agent_id}")
    return organization_id
