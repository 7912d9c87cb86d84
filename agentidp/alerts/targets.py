"""``/api/v1/alert-targets``: the alert targets of an organization."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.alerts.addresses import BadAddress, check_address
from agentidp.alerts.channels import Address
from agentidp.alerts.outbox import enqueue_test
from agentidp.alerts.target_fields import (
    AlertTargetChangeSchema,
    AlertTargetSchema,
    CreatedAlertTargetSchema,
    NewAlertTargetSchema,
)
from agentidp.alerts.target_secrets import TargetSealer, new_secret
from agentidp.caller import Caller, bearer
from agentidp.caller.object_kind import ObjectKind
from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict, RateLimited, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import merge_changed_columns
from agentidp.jose.sealing import Unreadable
from agentidp.outbound.networks import AllowedNetworks

MAX_TARGETS = 50  # maximum number of alert targets per organization
TEST_INTERVAL = timedelta(seconds=30)  # minimum time between two tests of the same target

blueprint = Blueprint("alert-targets", __name__, description="Where the organization's alerts go")

_CHANGEABLE = AlertTargetChangeSchema(exclude=["url"])

TARGETS = ObjectKind(
    "alert_target",
    blueprint,
    AlertTargetSchema,
    ["type", "destination", *_CHANGEABLE.fields],
    id_column="target_id",
    delete_statement="alerts/delete_target",
    scopes=("alerts:write", "alerts:write"),
)
represent, remove_target = TARGETS.represent, TARGETS.remove


class AlertTestSchema(ma.Schema):
    """The ID of a test message, which will be sent within seconds."""

    deliveryId = ma.fields.UUID(required=True)


def add_target(transaction: Transaction, settings: Settings, new_target: dict[str, Any]) -> tuple[Any, str | None]:
    """Create an alert target. Return its row, and the key that signs a webhook's messages (``None`` for other types).

    :param new_target: the fields loaded by :class:`~agentidp.alerts.target_fields.NewAlertTargetSchema`.
    :raises ValidationError: the address is not allowed for the type.
    :raises Conflict: another target has the name, or the organization has the maximum number of targets.
    """
    target_columns = dict(new_target)
    url, type_ = target_columns.pop("url"), target_columns["type"]
    target_id, signing_secret = uuid.uuid4(), new_secret() if type_ == "webhook" else None
    destination = _check_url(settings, type_, url)
    _refuse_taken_name(transaction, target_columns["name"])
    target_rows = transaction.fetch(
        "alerts/add_target",
        target_id=target_id,
        destination=destination,
        sealed=TargetSealer(settings).seal(target_id, Address(url=url, secret=signing_secret)),
        max_targets=MAX_TARGETS,
        **target_columns,
    )
    return TARGETS.record_addition(transaction, target_rows, MAX_TARGETS), signing_secret


def update_target(transaction: Transaction, settings: Settings, target_id: UUID, change: dict[str, Any]) -> Any:
    """Change an alert target, and return its new row. Fields that *change* omits are unchanged.

    :raises NotFound: the organization has no such target.
    :raises ValidationError: the address is not allowed for the target's type.
    :raises Conflict: another target has the name, or the address changes, but the instance secret does not decrypt the
        target's key.
    """
    if "name" in change:
        _refuse_taken_name(transaction, change["name"], target_id)
    earlier_row = _lock_target(transaction, target_id)
    column_values = merge_changed_columns(_CHANGEABLE, earlier_row, change)
    column_values |= {"destination": earlier_row.destination, "sealed": bytes(earlier_row.sealed)}
    if "url" in change:
        column_values["destination"] = _check_url(settings, earlier_row.type, change["url"])
        sealer = TargetSealer(settings)
        try:
            signing_secret = sealer.open(target_id, bytes(earlier_row.sealed)).secret
        except Unreadable:
            raise Conflict("The instance secret does not decrypt the target's key: create another target.") from None
        column_values["sealed"] = sealer.seal(target_id, Address(url=change["url"], secret=signing_secret))
    [target_row] = transaction.fetch("alerts/change_target", target_id=target_id, **column_values)
    # The URL is a secret, so the audit event has only the time of its change.
    url_change = {"urlChangedAt": transaction.at} if "url" in change else {}
    TARGETS.record(transaction, before=earlier_row, after=target_row, **url_change)
    return target_row


def request_test(transaction: Transaction, target_id: UUID) -> UUID:
    """Put a test message for an alert target into the outbox, and return the ID of its delivery.

    :raises NotFound: the organization has no such target.
    :raises Conflict: the target is disabled.
    :raises RateLimited: the last test was less than ``TEST_INTERVAL`` ago.
    """
    target_row = _lock_target(transaction, target_id)
    if not target_row.enabled:
        raise Conflict("The alert target is disabled; enable it first.")
    if not transaction.fetch("alerts/begin_test", target_id=target_id, tested_before=transaction.at - TEST_INTERVAL):
        interval_seconds = int(TEST_INTERVAL.total_seconds())
        raise RateLimited(
            f"An alert target can be tested once in {interval_seconds} seconds.",
            headers={"Retry-After": str(interval_seconds)},
        )
    return enqueue_test(transaction, target_id, target_row.name)


def _lock_target(transaction: Transaction, target_id: UUID) -> Any:
    """Lock an alert target until the transaction ends, and return its row, or raise ``NotFound``."""
    return require_row(transaction.fetch("alerts/lock_target", target_id=target_id))


def _refuse_taken_name(transaction: Transaction, name: str, target_id: UUID | None = None) -> None:
    """Raise ``Conflict`` if another target has the name. Lock the organization, so that the name stays free."""
    transaction.fetch("organizations/lock_organization")
    if any(row.name == name and row.target_id != target_id for row in transaction.fetch("alerts/list_targets")):
        raise TARGETS.name_conflict()


def _check_url(settings: Settings, type_: str, url: str) -> str:
    """Return the public part of a target's URL, or raise ``ValidationError`` if the URL is not allowed for the type."""
    try:
        return check_address(type_, url, AllowedNetworks(settings.alert_networks))
    except BadAddress as bad:
        raise ValidationError(details={"url": [str(bad)]}) from None


@blueprint.route("/api/v1/alert-targets", methods=["POST"])
@bearer("alerts:write")
@blueprint.arguments(NewAlertTargetSchema)
@blueprint.response(201, CreatedAlertTargetSchema, headers=["Location"])
@blueprint.alt_response(409, "CONFLICT")
def create_alert_target(caller: Caller, new_target: dict[str, Any]) -> Response:
    """Create an alert target. Only the response to this request contains the key that signs the target's webhooks."""
    with caller.transaction() as transaction:
        target_row, signing_secret = add_target(transaction, caller.settings, new_target)
    response_body = represent(target_row) | {"secret": signing_secret}
    return json_response(response_body, 201, {"Location": f"/api/v1/alert-targets/{response_body['targetId']}"})


TARGETS.add_list_route("alerts/list_targets", "List the alert targets, oldest first.")
TARGETS.add_get_route("alerts/get_target", "Return one alert target.")
TARGETS.add_change_route(
    AlertTargetChangeSchema,
    update_target,
    "Change an alert target. Waiting alerts are sent to the new address. The key of its webhooks stays the same.",
    has_conflicts=True,
)
TARGETS.add_delete_route("Delete an alert target, and the alerts that wait to be sent to it.")


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
