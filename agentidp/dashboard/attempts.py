"""Audit events about signing in to the dashboard."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from agentidp import audit
from agentidp.actor import Actor
from agentidp.counting import UNKNOWN_AGENT
from agentidp.db.organization import Transaction
from agentidp.http.request_context import request_actor
from agentidp.oauth import throttle
from agentidp.services import services


def build_session_actor(agent_id: UUID) -> Actor:
    """Return the agent as the actor of the transaction that calls :func:`record_sign_in`."""
    return request_actor("session", str(agent_id))


def record_sign_in(transaction: Transaction, agent_id: UUID, by: str) -> None:
    """Record that somebody has signed in as an agent, *by* ``credential``, ``token`` or ``link``."""
    audit.record(transaction, "agent.signed_in", agent_id, after={"by": by})


def record_refused_sign_in(organization_id: str, agent_id: UUID, at: datetime, *, by: str, reason: str) -> None:
    """Record that a sign-in as an agent was refused, unless there were too many records about the agent lately.

    :param by: ``credential``, ``token`` or ``link``.
    :param reason: the OAuth error code.
    """
    if agent_id != UNKNOWN_AGENT:
        actor, sign_in_details = request_actor("anonymous", "anonymous"), {"by": by, "reason": reason}
        record_rate_limited_event(organization_id, actor, "agent.sign_in_refused", agent_id, sign_in_details, at)


def record_rate_limited_event(
    organization_id: str, actor: Actor, action: str, subject: UUID | str, details: dict[str, str], at: datetime
) -> None:
    """Record an audit event that anyone can cause, unless there were too many events about the subject lately."""
    app_services = services()
    throttle_key = throttle.compute_throttle_cell(app_services.settings.instance_secret, f"record of {subject}", None)
    if throttle.admit_event(app_services.database, throttle_key, at):
        with app_services.database.of(organization_id, at).transaction(actor) as transaction:
            audit.record(transaction, action, subject, after=details)
