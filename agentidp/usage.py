"""Counting: the statements that count a request made and a request rejected.

A token issued is counted by the statement that issues it, ``sql/oauth/issue_access_token.sql``. All three count by the
function ``sql/functions/count_usage.sql``.
"""

from __future__ import annotations

from uuid import UUID

from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.metrics import REJECTIONS

UNKNOWN_ORGANIZATION = "org-00000000-0000-0000-0000-000000000000"
"""Counts the failed authentications of clients that nobody registered, in one row a day."""

UNKNOWN_AGENT = UUID(int=0)


def request_made(agent_id: UUID, jti: str) -> Call:
    """Admits an active agent's token and counts the request. It returns no row if the agent is not active or the token
    *jti* is revoked.
    """
    return Call("usage/record_request", {"agent_id": agent_id, "jti": jti})


def request_rejected(agent_id: UUID) -> Call:
    """Counts a failed authentication."""
    return Call("usage/record_rejection", {"agent_id": agent_id})


def record_rejection(database: OrganizationDatabase, agent_id: UUID) -> None:
    """Count that a token was refused, before the response to it is sent."""
    database.run(request_rejected(agent_id))
    REJECTIONS.labels("token").inc()
