"""Options that several commands have, and the look-up of what they name."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.demo import OPERATOR_ID
from agentidp.registry import organizations
from agentidp.services import Services


def moment(text: str) -> datetime:
    """An option's instant: a day, which is taken for its beginning in UTC, or a date and time with a time zone."""
    with contextlib.suppress(ValueError, OverflowError):
        if len(text) == len("2026-04-15"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise click.BadParameter("must be a day (2026-04-15), or a date and time with a time zone (2026-04-15T12:00:00Z)")


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
organization_option = click.option(
    "--organization", "organization_id", required=True, metavar="ID", help="The organization's id (org-…)."
)
agent_option = click.option(
    "--agent", "agent_id", required=True, type=click.UUID, metavar="ID", help="The agent's id, its client_id."
)
bindir_option = click.option(
    "--bindir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Of pg_dump, pg_restore and psql. Default: those of the embedded PostgreSQL, on PATH or of Debian's packages.",
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


def agent_or_operator(services: Services, agent_id: UUID | None) -> tuple[str, UUID]:
    """The organization and the id of an agent, by default of the demo's operator.

    :raises ConfigurationError: there is no such agent.
    """
    if agent_id is None and services.directory.organization_of(OPERATOR_ID) is None:
        raise ConfigurationError("there is no demo organization here, so name an agent: --agent ID")
    agent_id = agent_id or OPERATOR_ID
    return organization_of(services, agent_id), agent_id
