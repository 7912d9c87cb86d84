"""``GET /api/v1/audit``: the organization's audit trail."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
from flask import Response

from agentidp.actor import TYPES
from agentidp.audit import ACTIONS
from agentidp.audit.reading import MAX_ID, MAX_SEQUENCE, build_list_call, represent_rows
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call
from agentidp.http.errors import ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import Instant, Text, WholeNumber, timestamp

blueprint = Blueprint("audit", __name__, description="The audit trail")


class AuditArguments(ma.Schema):
    """The query parameters of ``GET /api/v1/audit``."""

    limit = WholeNumber(1, 1000, load_default=100)
    cursor = WholeNumber(
        1,
        MAX_SEQUENCE,
        load_default=None,
        metadata={"description": "`nextCursor` of the previous page. With `after`, send it as `after`"},
    )
    after = WholeNumber(
        0,
        MAX_SEQUENCE,
        load_default=None,
        metadata={
            "description": "Only events with a greater `sequence`, oldest first. Excludes `cursor` and all filters"
        },
    )
    actor = Text(1, MAX_ID, load_default=None, description="The ID of the agent that made the change")
    action = ma.fields.String(
        load_default=None,
        validate=ma.validate.OneOf(sorted(ACTIONS), error="must be one of the actions in the documentation"),
    )
    subject = Text(1, MAX_ID, load_default=None, description="The ID of what was changed")
    since = Instant(load_default=None, metadata={"description": "Events from this time on"})
    until = Instant(load_default=None, metadata={"description": "Events before this time"})


class AuditEventSchema(ma.Schema):
    """An audit event. `docs/audit.md` describes how its hashes are computed."""

    organizationId = ma.fields.String(required=True)
    sequence = ma.fields.Integer(required=True, validate=ma.validate.Range(1))
    eventId = ma.fields.UUID(required=True)
    at = ma.fields.AwareDateTime(required=True)
    actorType = ma.fields.String(required=True, validate=ma.validate.OneOf(TYPES))
    actor = ma.fields.String(required=True)
    action = ma.fields.String(required=True, metadata={"example": "agent.created"})
    subjectType = ma.fields.String(required=True)
    subject = ma.fields.String(required=True)
    before = ma.fields.Dict(required=True, allow_none=True)
    after = ma.fields.Dict(required=True, allow_none=True)
    clientAddress = ma.fields.String(required=True, allow_none=True)
    requestId = ma.fields.String(required=True, allow_none=True)
    salt = ma.fields.String(required=True, allow_none=True, metadata={"description": "Null if the content was erased"})
    contentHash = ma.fields.String(required=True)
    previousHash = ma.fields.String(required=True)
    hash = ma.fields.String(required=True)


class AuditSchema(ma.Schema):
    """A page of audit events, newest first, or oldest first with ``after``. The last page has no ``nextCursor``."""

    data = ma.fields.List(ma.fields.Nested(AuditEventSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


@blueprint.route("/api/v1/audit")
@bearer("audit:read")
@blueprint.arguments(AuditArguments, location="query")
@blueprint.data_response(AuditSchema, has_pages=True)
def list_audit_events(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the organization's audit events, newest first, or with `after` oldest first.

    A `Link` header (RFC 8288) contains the address of the next page. A program that collects all events sends the
    `sequence` of its last event as `after`. Later events have greater sequences, without a gap.
    """
    limit, cursor, after_sequence = (arguments.pop(name) for name in ("limit", "cursor", "after"))
    filters = arguments | {name: timestamp(arguments[name]) for name in ("since", "until")}
    next_page_query = {name: filter_value for name, filter_value in filters.items() if filter_value is not None}
    if after_sequence is None:
        events_call = build_list_call(below=cursor, limit=limit + 1, **arguments)
    else:
        _refuse_with_after([*next_page_query, *([] if cursor is None else ["cursor"])])
        events_call = Call("audit/events_after", {"after": after_sequence, "limit": limit + 1})
    [event_rows] = caller.read_together(events_call)
    event_page = represent_rows(event_rows[:limit])
    next_cursor = str(event_page[-1]["sequence"]) if len(event_rows) > limit else None
    response = data_response({"data": event_page, "nextCursor": next_cursor}, AuditEventSchema)
    if next_cursor is not None:
        next_page_query |= {"limit": limit, "cursor" if after_sequence is None else "after": next_cursor}
        response.headers["Link"] = f'<{caller.settings.issuer}/api/v1/audit?{urlencode(next_page_query)}>; rel="next"'
    return response


def _refuse_with_after(parameter_names: list[str]) -> None:
    if parameter_names:
        raise ValidationError(details={name: ["must not be given with after"] for name in parameter_names})
