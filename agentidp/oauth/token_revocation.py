"""Revoke verified tokens of a client, of another agent, or of a session at the dashboard."""

from __future__ import annotations

from agentidp import audit
from agentidp.actor import Actor
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Call
from agentidp.jose.access_token import AccessToken


def revoke_token(database: OrganizationDatabase, token: AccessToken) -> None:
    """Revoke a token of the client itself. The revocation is stored until no server would accept the token."""
    database.run(_revocation(token), durable=True)


def revoke_token_of_another(database: OrganizationDatabase, token: AccessToken, *, by: Actor) -> None:
    """Revoke a token of another agent than the client, and record it in the audit trail."""
    with database.transaction(by) as opened:
        opened.run(_revocation(token))
        audit.record(opened, "agent.token_revoked", token.agent_id, before={"jti": token.jti})


def end_session(opened: Transaction, token: AccessToken, *, is_revoked: bool) -> None:
    """Record a sign-out from the dashboard in the audit trail, and revoke the session's token if *is_revoked*."""
    if is_revoked:
        opened.run(_revocation(token))
    audit.record(opened, "agent.signed_out", token.agent_id)


def _revocation(token: AccessToken) -> Call:
    return Call("oauth/revoke_token", {"jti": token.jti, "expires_at": token.refused_from})
