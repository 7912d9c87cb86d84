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
MAX_NOTE = 1000  # characters of a note; the database checks the length too

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
    with caller.transaction() as opened:
        return json_response(apply_action(opened, finding_id, FindingChange.acknowledged, **arguments).represent())


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>/mute", methods=["POST"])
@bearer(SCOPE)
@blueprint.arguments(MuteSchema)
@blueprint.response(200, FindingSchema)
def mute_finding(caller: Caller, arguments: dict[str, Any], finding_id: UUID) -> Response:
    """Mute findings of this kind about this agent, or about every agent, until a time. They are still listed."""
    with caller.transaction() as opened:
        return json_response(apply_action(opened, finding_id, FindingChange.muted, **arguments).represent())


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>/unmute", methods=["POST"])
@bearer(SCOPE)
@blueprint.arguments(NoteSchema)
@blueprint.response(200, FindingSchema)
def unmute_finding(caller: Caller, arguments: dict[str, Any], finding_id: UUID) -> Response:
    """End the mutes that apply to a finding: of its kind for its agent, and of its kind for every agent."""
    with caller.transaction() as opened:
        return json_response(apply_action(opened, finding_id, FindingChange.unmuted, **arguments).represent())


def apply_action(
    opened: Transaction,
    finding_id: UUID,
    action: FindingChange,
    *,
    note: str | None = None,
    until: datetime | None = None,
    whole_organization: bool = False,
) -> StoredFinding:
    """Acknowledge a finding, mute its kind, or end the mutes that apply to it, and record the actor.

    :param action: ``acknowledged``, ``muted`` or ``unmuted``.
    :param until: the end of the mute.
    :param whole_organization: whether to mute the kind for every agent, and not only for the finding's agent.
    :returns: the finding after the change.
    :raises NotFound: the organization has no such finding.
    :raises ValidationError: *until* is in the past, or too far in the future.
    """
    if until and not opened.at < until <= opened.at + MAX_MUTE:
        raise ValidationError(details={"until": [f"must be in the future, by at most {MAX_MUTE.days} days"]})
    finding, name = read_finding(opened.fetch, finding_id), _actor_name(opened)
    kind, subject = finding.kind, ORGANIZATION if whole_organization else finding.subject
    if action is FindingChange.acknowledged:
        opened.fetch("finding_state/acknowledge_finding", finding_id=finding_id, acknowledged_by=name, note=note)
    elif action is FindingChange.muted:
        opened.fetch("finding_state/mute", kind=kind, subject=subject, until=until, muted_by=name, note=note)
    else:
        for muted_subject in (subject, ORGANIZATION):
            opened.fetch("finding_state/unmute", kind=kind, subject=muted_subject)
    finding = read_finding(opened.fetch, finding_id)
    record_changes(opened, [(finding, action)], changed_by=name, note=note)
    after = {"kind": kind, "about": subject, "mutedUntil": finding.muted_until, "note": note}
    audit.record(opened, f"finding.{action}", finding_id, after=after)
    return finding


def _actor_name(opened: Transaction) -> str:
    """Return the name of the agent or person who acts, or ``operator`` for a command."""
    actor = opened.actor
    if actor.type not in ("agent", "session"):
        return actor.display_name or actor.type
    [agent] = opened.fetch("agents/get_agent", agent_id=UUID(actor.name))
    return str(agent.name)
