"""``/api/v1/markers``: times such as deployments and holidays, which findings take into account."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.db.organization import Transaction
from agentidp.http import schemas
from agentidp.http.errors import Conflict, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.registry.agents import refuse_unknown_agent

blueprint = Blueprint("markers", __name__, description="Deployments and holidays, which findings take into account")

KINDS = ("deployment", "holiday")
DAY = timedelta(days=1)
MAX_MARKERS = 10_000
"""Maximum number of markers per organization."""

MAX_LENGTH = timedelta(days=366)
"""Maximum duration of a marker, from its start to its end."""

MAX_AGE = timedelta(days=400)
"""Maximum age of a marker since its end. All findings are younger, so adding a marker deletes older markers."""

MAX_DISTANCE = 2 * MAX_AGE
"""Maximum time between now and the start of a new marker."""

MAX_LISTED = 500
MAX_NOTE = 200
"""Maximum number of characters of a note."""


class MarkerFields(ma.Schema):
    markerId = ma.fields.UUID(attribute="marker_id", dump_only=True)
    kind = schemas.Choice(KINDS, required=True)
    startsAt = schemas.Instant(required=True, attribute="starts_at", option="--from", description="Start of the marker")
    endsAt = schemas.Instant(
        attribute="ends_at",
        allow_none=True,
        load_default=None,
        option="--to",
        description="End of the marker",
        nothing="at the start for a deployment, 24 hours after it for a holiday",
    )
    agentId = schemas.AgentId(
        attribute="agent_id",
        allow_none=True,
        load_default=None,
        words="agent",
        description="The agent that was deployed. A holiday applies to every agent",
        nothing="every agent",
    )
    note = schemas.Text(
        1,
        MAX_NOTE,
        allow_none=True,
        load_default=None,
        description="Text that findings show, for example a version",
        nothing="no note",
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)


NewMarkerSchema = schemas.new_schema(MarkerFields)


class MarkerSchema(schemas.ReturnedSchema, MarkerFields):
    endsAt = schemas.Instant(attribute="ends_at")


represent = MarkerSchema().as_json
_represent_settings = MarkerSchema(only=list(NewMarkerSchema().fields)).as_json


@blueprint.route("/api/v1/markers", methods=["POST"])
@bearer("findings:write")
@blueprint.arguments(NewMarkerSchema)
@blueprint.response(201, MarkerSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_marker(caller: Caller, members: dict[str, Any]) -> Response:
    """Create a marker for a deployment or a holiday. Findings that are computed later take the marker into account."""
    with caller.transaction() as transaction:
        marker_row = add_marker(transaction, **members)
    return json_response(represent(marker_row), 201, {"Location": f"/api/v1/markers/{marker_row.marker_id}"})


@blueprint.route("/api/v1/markers")
@bearer("analytics:read")
@blueprint.response(200, schemas.list_of(MarkerSchema))
def list_markers(caller: Caller) -> Response:
    """List at most 500 markers, latest end first."""
    marker_rows = caller.read("markers/list_markers", limit=MAX_LISTED)
    return json_response({"data": [represent(marker_row) for marker_row in marker_rows]})


@blueprint.route("/api/v1/markers/<uuid:marker_id>", methods=["DELETE"])
@bearer("findings:write")
@blueprint.response(204)
def delete_marker(caller: Caller, marker_id: UUID) -> Response:
    """Delete a marker."""
    with caller.transaction() as transaction:
        remove_marker(transaction, marker_id)
    return Response(status=204)


def add_marker(
    transaction: Transaction,
    *,
    kind: str,
    starts_at: datetime,
    ends_at: datetime | None,
    agent_id: UUID | None,
    note: str | None,
) -> Any:
    """Add a marker, and return its row.

    :raises ValidationError: the marker starts too far from now, ends before it starts, or is too long; the organization
        has no such agent; or a holiday names an agent.
    :raises Conflict: the organization has the maximum number of markers.
    """
    ends_at = _resolve_end(transaction.at, kind, starts_at, ends_at)
    if agent_id is not None and kind == "holiday":
        raise ValidationError(details={"agentId": ["must be null for a holiday"]})
    refuse_unknown_agent(transaction, agent_id)
    transaction.fetch("organizations/lock_organization")
    marker_rows = transaction.fetch(
        "markers/add_marker",
        marker_id=uuid.uuid4(),
        kind=kind,
        starts_at=starts_at,
        ends_at=ends_at,
        agent_id=agent_id,
        note=note,
        ended_before=transaction.at - MAX_AGE,
        max_markers=MAX_MARKERS,
    )
    if not marker_rows:
        raise Conflict(f"The organization has {MAX_MARKERS} markers; delete one first.")
    [marker_row] = marker_rows
    audit.record(transaction, "marker.created", marker_row.marker_id, after=_represent_settings(marker_row))
    return marker_row


def _resolve_end(at: datetime, kind: str, starts_at: datetime, ends_at: datetime | None) -> datetime:
    if abs(starts_at - at) > MAX_DISTANCE:
        raise ValidationError(details={"startsAt": [f"must be within {MAX_DISTANCE.days} days of now"]})
    if ends_at is None:
        ends_at = starts_at if kind == "deployment" else starts_at + DAY
    if not starts_at <= ends_at <= starts_at + MAX_LENGTH:
        raise ValidationError(details={"endsAt": [f"must be after startsAt, by at most {MAX_LENGTH.days} days"]})
    return ends_at


def remove_marker(transaction: Transaction, marker_id: UUID) -> None:
    """Delete a marker, or raise ``NotFound`` if the organization has no such marker."""
    row = require_row(transaction.fetch("markers/delete_marker", marker_id=marker_id))
    audit.record(transaction, "marker.deleted", marker_id, before=_represent_settings(row))
