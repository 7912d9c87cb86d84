"""Deletion of an organization with all its data, and erasure of what is left of a deleted agent."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from agentidp import audit
from agentidp.audit.upkeep import erase
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.http.errors import NotFound
from agentidp.registry.organizations import update_organization
from agentidp.usage_history.pruning import counted_days, delete_days


def delete_organization(database_url: str, organization_id: str, *, at: datetime) -> None:
    """Delete an organization that exists: its tokens stop working at once, then its usage is deleted day by day, then
    everything else in one transaction. If it is interrupted, the organization is suspended, and a second call goes on.

    Two things stay. Its audit trail, without what was changed: it shows that the organization was deleted, by whom and
    when, and its chain can be verified. And its resource identifiers, so that no other organization gets tokens for its
    resource servers; ``agentidp resource-server release`` gives them free.

    :param database_url: as the operator.
    :param at: now, aware.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as opened:
        update_organization(opened, {"suspended_at": at})
    days = counted_days(database_url, organization_id, before=date.max, at=at)
    delete_days(database_url, organization_id, days, before=date.max, at=at)
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as opened:
        opened.fetch("organizations/erase_organization")
        erase(opened, None)
        audit.record(opened, "organization.deleted", organization_id)


def erase_agent(database_url: str, organization_id: str, agent_id: UUID, *, at: datetime) -> None:
    """Erase the name and all other text about a deleted agent, the labels of its credentials, the notes of the
    markers of its deployments, the findings that name it, and what the audit trail says of them. Its id and its usage
    stay.

    :param database_url: as the operator.
    :param at: now, aware.
    :raises NotFound: there is no such deleted agent.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as opened:
        # While its name is still known.
        findings = opened.fetch("agents/erase_findings", agent_id=agent_id)
        if not opened.fetch("agents/erase_agent", agent_id=agent_id):
            raise NotFound
        labels = opened.fetch("agents/erase_labels", agent_id=agent_id)
        opened.fetch("agents/erase_marker_notes", agent_id=agent_id)
        subjects = [agent_id, *(row.credential_id for row in labels), *(row.finding_id for row in findings)]
        erase(opened, [str(subject) for subject in subjects])
        audit.record(opened, "agent.erased", agent_id)
