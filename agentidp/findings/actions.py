"""``POST /api/v1/analytics/findings/{findingId}/acknowledge``, ``mute`` and ``unmute``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.db.organization import Transaction
from agentidp.findings.finding import ORGANIZATION, StoredFinding
from agentidp.findings.identity import FindingChange
from agentidp.findings.listing import FindingSchema
from agentidp.findings.store import read_finding, record_changes
from agentidp.http.errors import ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import Flag, Instant, Text

SCOPE = "findings:write"

MAX_MUTE = timedelta(days=366)  # maximum time until the end of a mute, because a longer mute would be forgotten
MAX_NOTE = 1000  # maximum characters of a note; the database checks the length too

blueprint = Blueprint("finding-actions", __name__, description="Findings")


class NoteSchema(ma.Schema):
    note = Text(1, MAX_NOTE, multiline=True, allow_none=True, load_default=None)


class MuteSchema(NoteSchema):
    """The request body that mutes the finding's kind for its agent, or for every agent, until an instant."""

    until = Instant(required=True, words="day until which it is muted")
    wholeOrganization = Flag(attribute="whole_organization", typed_name="every", load_default=False)


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>/acknowledge", methods=["POST"])
@bearer(SCOPE)
@blueprint.arguments(NoteSchema)
@blueprint.response(200, FindingSchema)
def acknowledge_finding(caller: Caller, arguments: dict[str, Any], finding_id: UUID) -> Response:
    """Acknowledge a finding: somebody deals with it. An escalation ends the acknowledgement."""
    with caller.transaction() as transaction:
        return json_response(apply_action(transaction, finding_id, FindingChange.acknowledged, **arguments).represent())


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>/mute", methods=["POST"])
@bearer(SCOPE)
@blueprint.arguments(MuteSchema)
@blueprint.response(200, FindingSchema)
def mute_finding(caller: Caller, arguments: dict[str, Any], finding_id: UUID) -> Response:
    """Mute findings of this kind about this agent, or about every agent, until a time. Muted findings stay listed."""
    with caller.transaction() as transaction:
        return json_response(apply_action(transaction, finding_id, FindingChange.muted, **arguments).represent())


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>/unmute", methods=["POST"])
@bearer(SCOPE)
@blueprint.arguments(NoteSchema)
@blueprint.response(200, FindingSchema)
def unmute_finding(caller: Caller, arguments: dict[str, Any], finding_id: UUID) -> Response:
    """End the mutes of a finding's kind, both for the finding's agent and for every agent."""
    with caller.transaction() as transaction:
        return json_response(apply_action(transaction, finding_id, FindingChange.unmuted, **arguments).represent())


def apply_action(
    transaction: Transaction,
    finding_id: UUID,
    action: FindingChange,
    *,
    note: str | None = None,
    until: datetime | None = None,
    whole_organization: bool = False,
) -> StoredFinding:
    """Acknowledge a finding, mute its kind, or end the mutes that apply to it. Return the finding after the change.

    :param action: ``acknowledged``, ``muted`` or ``unmuted``.
    :param whole_organization: whether to mute the kind for every agent, and not only for the finding's agent.
    :raises NotFound: the organization has no such finding.
    :raises ValidationError: *until* is in the past, or too far in the future.
    """
    if until and not transaction.at < until <= transaction.at + MAX_MUTE:
        raise ValidationError(details={"until": [f"must be in the future, by at most {MAX_MUTE.days} days"]})
    finding, actor_name = read_finding(transaction.fetch, finding_id), _read_actor_name(transaction)
    kind, subject = finding.kind, ORGANIZATION if whole_organization else finding.subject
    if action is FindingChange.acknowledged:
        transaction.fetch(
            "finding_state/acknowledge_finding", finding_id=finding_id, acknowledged_by=actor_name, note=note
        )
    elif action is FindingChange.muted:
        transaction.fetch("finding_state/mute", kind=kind, subject=subject, until=until, muted_by=actor_name, note=note)
    else:
        for muted_subject in (subject, ORGANIZATION):
            transaction.fetch("finding_state/unmute", kind=kind, subject=muted_subject)
    finding = read_finding(transaction.fetch, finding_id)
    record_changes(transaction, [(finding, action)], changed_by=actor_name, note=note)
    audited_values = {"kind": kind, "about": subject, "mutedUntil": finding.muted_until, "note": note}
    audit.record(transaction, f"finding.{action}", finding_id, after=audited_values)
    return finding


def _read_actor_name(transaction: Transaction) -> str:
    """Return the name of the agent or person who acts, or ``operator`` for a command."""
    actor = transaction.actor
    if actor.type not in ("agent", "session"):
        return actor.display_name or actor.type
    [agent] = transaction.fetch("agents/get_agent", agent_id=UUID(actor.name))
    return str(agent.name)
