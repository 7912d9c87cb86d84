"""Revoke a verified token: the client's own, another agent's, or that of a session at the dashboard.

The last two are recorded in the audit trail.
"""

from __future__ import annotations

from agentidp import audit
from agentidp.actor import Actor
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Call
from agentidp.jose.access_token import AccessToken


def revoke_token(database: OrganizationDatabase, token: AccessToken) -> None:
    """Revoke a verified token of the organization, until no server would accept it any more."""
    database.run(_revocation(token), durable=True)


def revoke_token_of_another(database: OrganizationDatabase, token: AccessToken, *, by: Actor) -> None:
    """Revoke a token of another agent than the one that asks for it, which is recorded."""
    with database.transaction(by) as opened:
        opened.run(_revocation(token))
        audit.record(opened, "agent.token_revoked", token.agent_id, before={"jti": token.jti})


def end_session(opened: Transaction, token: AccessToken, *, is_revoked: bool) -> None:
    """Record that somebody signs out of the dashboard.

    :param is_revoked: revoke the session's token.
    """
    if is_revoked:
        opened.run(_revocation(token))
    audit.record(opened, "agent.signed_out", token.agent_id)


def _revocation(token: AccessToken) -> Call:
    return Call("oauth/revoke_token", {"jti": token.jti, "expires_at": token.refused_from})
