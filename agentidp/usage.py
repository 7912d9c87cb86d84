"""Counting: the statements that count a request made and a request rejected.

A token issued is counted by the statement that issues it, ``sql/oauth/issue_access_token.sql``.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from agentidp.db.database import Call, Database

UNKNOWN_ORGANIZATION = "org-00000000-0000-0000-0000-000000000000"
"""Counts the failed authentications of clients that nobody registered, in one row a day."""

UNKNOWN_AGENT = UUID(int=0)


def request_made(organization_id: str, agent_id: UUID, jti: str, at: datetime) -> Call:
    """Admits an active agent's token and counts the request; its rows are empty where the agent is not active or the
    token *jti* is revoked.
    """
    return Call(
        "usage/record_request",
        {"organization_id": organization_id, "agent_id": agent_id, "jti": jti, "at": at},
    )


def request_rejected(organization_id: str, agent_id: UUID, at: datetime) -> Call:
    """Counts a failed authentication."""
    return Call("usage/record_rejection", {"organization_id": organization_id, "agent_id": agent_id, "at": at})


def record_rejection(database: Database, organization_id: str, agent_id: UUID, at: datetime) -> None:
    """Count a failed authentication, before its answer is sent."""
    database.run(organization_id, request_rejected(organization_id, agent_id, at))
