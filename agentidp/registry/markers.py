"""``/api/v1/markers``: times such as deployments and holidays, which findings take into account."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma

from agentidp.caller.object_kind import ObjectKind
from agentidp.db.organization import Transaction
from agentidp.http import schemas
from agentidp.http.errors import ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.registry.agents import refuse_unknown_agent

blueprint = Blueprint("markers", __name__, description="Deployments and holidays, which findings take into account")

KINDS = ("deployment", "holiday")
DAY = timedelta(days=1)
MAX_MARKERS = 10_000
"""Maximum number of markers per organization."""

MAX_LENGTH = timedelta(days=366)
"""Maximum duration of a marker, from its start to its end."""

MAX_AGE = timedelta(days=400)
"""Maximum time since a marker's end. Adding a marker deletes older markers, because they affect no finding."""

MAX_DISTANCE = 2 * MAX_AGE
"""Maximum time from now to the start of a new marker, in the past or the future."""

MAX_LISTED = 500
MAX_NOTE = 200
"""Maximum number of characters of a note."""


class MarkerFields(ma.Schema):
    markerId = ma.fields.UUID(attribute="marker_id", dump_only=True)
    kind = schemas.Choice(KINDS, required=True)
    startsAt = schemas.Instant(required=True, attribute="starts_at", option="--from", description="Start of the marker")
    endsAt = schemas.Instant(
        attribute="ends_at",
        load_default=None,
        option="--to",
        description="End of the marker",
        nothing="at the start for a deployment, 24 hours after the start for a holiday",
    )
    agentId = schemas.AgentId(
        attribute="agent_id",
        load_default=None,
        words="agent",
        description="The agent that was deployed. A holiday applies to every agent",
        nothing="every agent",
    )
    note = schemas.Text(
        1,
        MAX_NOTE,
        load_default=None,
        description="Text that findings show, for example a version",
        nothing="no note",
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)


NewMarkerSchema = schemas.new_schema(MarkerFields)


class MarkerSchema(schemas.ReturnedSchema, MarkerFields):
    endsAt = schemas.Instant(attribute="ends_at")


MARKERS = ObjectKind(
    "marker",
    blueprint,
    MarkerSchema,
    NewMarkerSchema().fields,
    delete_statement="markers/delete_marker",
    scopes=("analytics:read", "findings:write"),
)
represent, remove_marker = MARKERS.represent, MARKERS.remove


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

    :raises ValidationError: the times are refused, the organization has no such agent, or a holiday names an agent.
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
    return MARKERS.record_addition(transaction, marker_rows, MAX_MARKERS)


def _resolve_end(at: datetime, kind: str, starts_at: datetime, ends_at: datetime | None) -> datetime:
    if abs(starts_at - at) > MAX_DISTANCE:
        raise ValidationError(details={"startsAt": [f"must be within {MAX_DISTANCE.days} days of now"]})
    if ends_at is None:
        ends_at = starts_at if kind == "deployment" else starts_at + DAY
    if not starts_at <= ends_at <= starts_at + MAX_LENGTH:
        raise ValidationError(details={"endsAt": [f"must be after startsAt, by at most {MAX_LENGTH.days} days"]})
    return ends_at


MARKERS.add_create_route(
    NewMarkerSchema,
    lambda transaction, _, members: add_marker(transaction, **members),
    "Create a marker for a deployment or a holiday. Findings that are computed later take the marker into account.",
)
MARKERS.add_list_route("markers/list_markers", "List at most 500 markers, latest end first.", limit=MAX_LISTED)
MARKERS.add_delete_route("Delete a marker.")
