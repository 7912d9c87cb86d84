"""``/api/v1/alert-targets``: where an organization's alerts go."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.alerts.addresses import MAX_URL_LENGTH, TYPES
from agentidp.alerts.state_change import KINDS, SEVERITIES
from agentidp.alerts.targets import add_target, remove_target, represent, request_test, update_target
from agentidp.caller import Caller, bearer
from agentidp.http.errors import existing
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import MAX_NAME, MAX_OWNER, ChangeSchema, Flag, Text

MAX_OWNERS = 50
"""That one target names."""

blueprint = Blueprint("alert-targets", __name__, description="Where the organization's alerts go")


class Url(ma.fields.String):
    """An address. It is checked completely when the target's type is known."""

    def __init__(self, **kwargs: Any) -> None:
        by_type = "; ".join(f"`{type_}`: {address}" for type_, address in TYPES.items())
        description = f"The address, by type: {by_type}. It is stored encrypted and never returned"
        super().__init__(
            validate=[
                ma.validate.Length(1, MAX_URL_LENGTH, error=f"must have 1 to {MAX_URL_LENGTH} characters"),
                ma.validate.Regexp(
                    r"[a-z0-9]+://[!-~]+\Z",
                    error="must be a URL with a scheme and a host, in printable ASCII characters",
                ),
            ],
            metadata={"description": description},
            **kwargs,
        )
        self.error_messages["invalid"] = "must be a string"


def _kinds(**kwargs: Any) -> ma.fields.List[str]:
    one = ma.fields.String(
        validate=ma.validate.OneOf(KINDS, error="must be among " + ", ".join(KINDS)),
        error_messages={"invalid": "must be a string"},
    )
    most = ma.validate.Length(1, len(KINDS), error=f"must name 1 to {len(KINDS)} kinds")
    return ma.fields.List(
        one, allow_none=True, validate=most, metadata={"description": "Kinds of findings; null for all"}, **kwargs
    )


def _owners(**kwargs: Any) -> ma.fields.List[str]:
    most = ma.validate.Length(1, MAX_OWNERS, error=f"must name 1 to {MAX_OWNERS} owners")
    return ma.fields.List(
        Text(1, MAX_OWNER),
        allow_none=True,
        validate=most,
        metadata={"description": "Only findings about agents with one of these owners; null for all findings"},
        **kwargs,
    )


def _severity(**kwargs: Any) -> ma.fields.String:
    rule = ma.validate.OneOf(SEVERITIES, error="must be one of " + ", ".join(SEVERITIES))
    return ma.fields.String(
        validate=rule,
        attribute="minimum_severity",
        metadata={"description": "Findings that are less urgent are not sent"},
        **kwargs,
    )


class NewAlertTargetSchema(ma.Schema):
    """The body that creates an alert target."""

    name = Text(1, MAX_NAME, required=True)
    type = ma.fields.String(
        required=True, validate=ma.validate.OneOf(tuple(TYPES), error="must be one of " + ", ".join(TYPES))
    )
    url = Url(required=True)
    kinds = _kinds(load_default=None)
    owners = _owners(load_default=None)
    minimumSeverity = _severity(load_default="warning")
    enabled = Flag(load_default=True)


class AlertTargetChangeSchema(ChangeSchema):
    """The body that changes an alert target. Missing members stay as they are; the type cannot be changed."""

    name = Text(1, MAX_NAME)
    url = Url()
    kinds = _kinds()
    owners = _owners()
    minimumSeverity = _severity()
    enabled = Flag()


class AlertTargetSchema(ma.Schema):
    """An alert target. The address and the key of webhooks are secrets; ``destination`` is what may be shown."""

    targetId = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    type = ma.fields.String(required=True, validate=ma.validate.OneOf(tuple(TYPES)))
    destination = ma.fields.String(required=True)
    kinds = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    owners = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    minimumSeverity = ma.fields.String(required=True, validate=ma.validate.OneOf(SEVERITIES))
    enabled = ma.fields.Boolean(required=True)
    createdAt = ma.fields.AwareDateTime(required=True)
    updatedAt = ma.fields.AwareDateTime(required=True)
    lastSuccessAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    lastFailureAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    failingSince = ma.fields.AwareDateTime(required=True, allow_none=True)
    lastError = ma.fields.String(required=True, allow_none=True)


class CreatedAlertTargetSchema(AlertTargetSchema):
    """An alert target, and the only time the key that its webhooks are signed with."""

    secret = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "`whsec_…` for `webhook`, null for the other types"}
    )


class AlertTargetListSchema(ma.Schema):
    """All alert targets, oldest first."""

    data = ma.fields.List(ma.fields.Nested(AlertTargetSchema), required=True)


class AlertTestSchema(ma.Schema):
    """A test that will be sent within seconds."""

    deliveryId = ma.fields.UUID(required=True)


@blueprint.route("/api/v1/alert-targets", methods=["POST"])
@bearer("alerts:write")
@blueprint.arguments(NewAlertTargetSchema)
@blueprint.response(201, CreatedAlertTargetSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_alert_target(caller: Caller, new: dict[str, Any]) -> Response:
    """Create an alert target. The response to this request is the only one that contains the key of its webhooks."""
    with caller.transaction() as opened:
        row, secret = add_target(opened, caller.settings, **new)
    body = represent(row) | {"secret": secret}
    headers = {"Location": f"/api/v1/alert-targets/{body['targetId']}", "Cache-Control": "no-store"}
    return json_response(body, 201, headers)


@blueprint.route("/api/v1/alert-targets")
@bearer("alerts:write")
@blueprint.response(200, AlertTargetListSchema)
def list_alert_targets(caller: Caller) -> Response:
    """List the alert targets, oldest first."""
    return json_response({"data": [represent(row) for row in caller.read("alerts/list_targets")]})


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>")
@bearer("alerts:write")
@blueprint.response(200, AlertTargetSchema)
def get_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Return one alert target."""
    return json_response(represent(existing(caller.read("alerts/get_target", target_id=target_id))))


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>", methods=["PATCH"])
@bearer("alerts:write")
@blueprint.arguments(AlertTargetChangeSchema)
@blueprint.response(200, AlertTargetSchema)
@blueprint.alt_response(409, "CONFLICT")
def change_alert_target(caller: Caller, change: dict[str, Any], target_id: UUID) -> Response:
    """Change an alert target. What waits for it is sent to the new address. The key of its webhooks stays."""
    with caller.transaction() as opened:
        row = update_target(opened, caller.settings, target_id, change)
    return json_response(represent(row))


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>", methods=["DELETE"])
@bearer("alerts:write")
@blueprint.response(204)
def delete_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Delete an alert target, and what waits to be sent to it."""
    with caller.transaction() as opened:
        remove_target(opened, target_id)
    return Response(status=204)


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>/test", methods=["POST"])
@bearer("alerts:write")
@blueprint.response(202, AlertTestSchema)
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(429, "RATE_LIMITED")
def test_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Send a test to an alert target within seconds. Then its `lastSuccessAt` or its `lastError` is new."""
    with caller.transaction() as opened:
        delivery_id = request_test(opened, target_id)
    return json_response({"deliveryId": str(delivery_id)}, 202)
