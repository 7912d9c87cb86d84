"""Create an organization with its first administrator: an agent that can create all other agents over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.registry.agents import add_agent
from agentidp.registry.credentials import add_credential
from agentidp.registry.organizations import generate_organization_id, insert_organization
from agentidp.scopes import SCOPES

NAME = "administrator"


class Administrator(NamedTuple):
    """The first agent of a new organization. The database contains only a hash of ``client_secret``."""

    organization_id: str
    agent_id: UUID
    client_secret: str


def add_administered_organization(database_url: str, *, name: str, at: datetime) -> Administrator:
    """Create an organization, an agent that has every scope of our own API, and a client secret for the agent.

    :param database_url: the database's URL with the operator's role.
    """
    organization_id = generate_organization_id()
    description = "Administers the organization."
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        insert_organization(transaction, name=name)
        agent_row = add_agent(transaction, name=NAME, description=description, scopes=list(SCOPES), max_agents=1)
        _, client_secret = add_credential(transaction, agent_row.agent_id, expires_at=None)
    assert client_secret is not None  # noqa: S101 - no keys were given
    return Administrator(organization_id, agent_row.agent_id, client_secret)
