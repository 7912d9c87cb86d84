"""``/api/v1/alert-targets``: the alert targets of an organization."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.alerts.target_fields import (
    AlertTargetChangeSchema,
    AlertTargetSchema,
    CreatedAlertTargetSchema,
    NewAlertTargetSchema,
)
from agentidp.alerts.targets import add_target, remove_target, represent, request_test, update_target
from agentidp.caller import Caller, bearer
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import list_of

blueprint = Blueprint("alert-targets", __name__, description="Where the organization's alerts go")


class AlertTestSchema(ma.Schema):
    """The ID of a test message, which will be sent within seconds."""

    deliveryId = ma.fields.UUID(required=True)


@blueprint.route("/api/v1/alert-targets", methods=["POST"])
@bearer("alerts:write")
@blueprint.arguments(NewAlertTargetSchema)
@blueprint.response(201, CreatedAlertTargetSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_alert_target(caller: Caller, new_target: dict[str, Any]) -> Response:
    """Create an alert target. The response to this request is the only one that contains the key of its webhooks."""
    with caller.transaction() as transaction:
        target_row, signing_secret = add_target(transaction, caller.settings, new_target)
    response_body = represent(target_row) | {"secret": signing_secret}
    headers = {"Location": f"/api/v1/alert-targets/{response_body['targetId']}", "Cache-Control": "no-store"}
    return json_response(response_body, 201, headers)


@blueprint.route("/api/v1/alert-targets")
@bearer("alerts:write")
@blueprint.response(200, list_of(AlertTargetSchema))
def list_alert_targets(caller: Caller) -> Response:
    """List the alert targets, oldest first."""
    return json_response({"data": [represent(row) for row in caller.read("alerts/list_targets")]})


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>")
@bearer("alerts:write")
@blueprint.response(200, AlertTargetSchema)
def get_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Return one alert target."""
    return json_response(represent(require_row(caller.read("alerts/get_target", target_id=target_id))))


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>", methods=["PATCH"])
@bearer("alerts:write")
@blueprint.arguments(AlertTargetChangeSchema)
@blueprint.response(200, AlertTargetSchema)
@blueprint.alt_response(409, "CONFLICT")
def change_alert_target(caller: Caller, change: dict[str, Any], target_id: UUID) -> Response:
    """Change an alert target. Waiting alerts are sent to the new address. The key of its webhooks stays the same."""
    with caller.transaction() as transaction:
        target_row = update_target(transaction, caller.settings, target_id, change)
    return json_response(represent(target_row))


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>", methods=["DELETE"])
@bearer("alerts:write")
@blueprint.response(204)
def delete_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Delete an alert target, and the alerts that wait to be sent to it."""
    with caller.transaction() as transaction:
        remove_target(transaction, target_id)
    return Response(status=204)


@blueprint.route("/api/v1/alert-targets/<uuid:target_id>/test", methods=["POST"])
@bearer("alerts:write")
@blueprint.response(202, AlertTestSchema)
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(429, "RATE_LIMITED")
def test_alert_target(caller: Caller, target_id: UUID) -> Response:
    """Send a test to an alert target within seconds. The result changes `lastSuccessAt` or `lastError`."""
    with caller.transaction() as transaction:
        delivery_id = request_test(transaction, target_id)
    return json_response({"deliveryId": str(delivery_id)}, 202)
