"""Deletes an organization with its data, and erases the personal data of a deleted agent."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from agentidp import audit
from agentidp.audit.upkeep import erase_recorded_values
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.http.errors import NotFound
from agentidp.registry.organizations import update_organization
from agentidp.usage_history.pruning import count_tokens_by_day, delete_days


def delete_organization(database_url: str, organization_id: str, *, at: datetime) -> None:
    """Suspend an organization, and delete its usage and its other data. After a failure, another call continues.

    The organization's resource identifiers and audit trail stay, but not the values that the trail has recorded.

    :param database_url: the database's URL, with the operator's role.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        update_organization(transaction, {"suspended_at": at})
    usage_days = count_tokens_by_day(database_url, organization_id, first_kept=date.max, at=at)
    delete_days(database_url, organization_id, usage_days, first_kept=date.max, at=at)
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        transaction.fetch("organizations/erase_organization")
        erase_recorded_values(transaction, None)
        audit.record(transaction, "organization.deleted", organization_id)


def erase_agent(database_url: str, organization_id: str, agent_id: UUID, *, at: datetime) -> None:
    """Erase the texts about a deleted agent, also in the audit trail. The agent's ID and usage stay.

    :param database_url: the database's URL, with the operator's role.
    :raises NotFound: there is no deleted agent with this ID.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        # Findings are erased first, because they are looked up by the agent's name, which the next statement erases.
        finding_rows = transaction.fetch("agents/erase_findings", agent_id=agent_id)
        if not transaction.fetch("agents/erase_agent", agent_id=agent_id):
            raise NotFound
        credential_rows = transaction.fetch("agents/erase_labels", agent_id=agent_id)
        transaction.fetch("agents/erase_marker_notes", agent_id=agent_id)
        credential_ids = [credential_row.credential_id for credential_row in credential_rows]
        finding_ids = [finding_row.finding_id for finding_row in finding_rows]
        subject_ids = [str(subject_id) for subject_id in (agent_id, *credential_ids, *finding_ids)]
        erase_recorded_values(transaction, subject_ids)
        audit.record(transaction, "agent.erased", agent_id)
