"""Creates, changes, deletes and tests the alert targets of an organization."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any
from uuid import UUID

from agentidp import audit
from agentidp.alerts.addresses import BadAddress, check_address
from agentidp.alerts.channels import Address
from agentidp.alerts.outbox import enqueue_test
from agentidp.alerts.target_fields import AlertTargetChangeSchema, AlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer, new_secret
from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict, RateLimited, ValidationError, require_row
from agentidp.http.schemas import merge_changed_columns
from agentidp.jose.sealing import Unreadable
from agentidp.outbound.networks import AllowedNetworks

MAX_TARGETS = 50  # alert targets per organization
TEST_INTERVAL = timedelta(seconds=30)  # minimum time between two tests of the same target

_CHANGEABLE = AlertTargetChangeSchema(exclude=["url"])

represent = AlertTargetSchema().as_json
"""Return an alert target's row as JSON of the API, without its secrets."""

_audited = AlertTargetSchema(only=["type", "destination", *_CHANGEABLE.fields]).as_json
"""Return the fields of an alert target that the audit trail records, without secrets."""


def add_target(transaction: Transaction, settings: Settings, new_target: dict[str, Any]) -> tuple[Any, str | None]:
    """Create an alert target.

    :param new_target: the fields loaded by :class:`~agentidp.alerts.target_fields.NewAlertTargetSchema`.
    :returns: the target's row, and the key that signs its messages, or None if it is not a webhook.
    :raises ValidationError: the address is not allowed for the type.
    :raises Conflict: another target has the name, or the organization has the maximum number of targets.
    """
    target_columns = dict(new_target)
    url, type_ = target_columns.pop("url"), target_columns["type"]
    target_id, signing_secret = uuid.uuid4(), new_secret() if type_ == "webhook" else None
    destination = _destination(settings, type_, url)
    _refuse_taken_name(transaction, target_columns["name"])
    target_rows = transaction.fetch(
        "alerts/add_target",
        target_id=target_id,
        destination=destination,
        sealed=TargetSealer(settings).seal(target_id, Address(url=url, secret=signing_secret)),
        max_targets=MAX_TARGETS,
        **target_columns,
    )
    if not target_rows:
        raise Conflict(f"The organization has {MAX_TARGETS} alert targets; delete one first.")
    [target_row] = target_rows
    audit.record(transaction, "alert_target.created", target_id, after=_audited(target_row))
    return target_row, signing_secret


def update_target(transaction: Transaction, settings: Settings, target_id: UUID, change: dict[str, Any]) -> Any:
    """Change an alert target.

    :param change: the fields loaded by :class:`AlertTargetChangeSchema`. Omitted fields are unchanged.
    :returns: the target's new row.
    :raises NotFound: the organization has no such target.
    :raises ValidationError: the address is not allowed for the target's type.
    :raises Conflict: another target has the name, or the address changes, but the instance secret does not decrypt the
        target's key.
    """
    if "name" in change:
        _refuse_taken_name(transaction, change["name"], target_id)
    earlier_row = lock_target(transaction, target_id)
    column_values = merge_changed_columns(_CHANGEABLE, earlier_row, change)
    column_values |= {"destination": earlier_row.destination, "sealed": bytes(earlier_row.sealed)}
    if "url" in change:
        column_values["destination"] = _destination(settings, earlier_row.type, change["url"])
        sealer = TargetSealer(settings)
        try:
            signing_secret = sealer.open(target_id, bytes(earlier_row.sealed)).secret
        except Unreadable:
            raise Conflict("The instance secret does not decrypt the target's key: create another target.") from None
        column_values["sealed"] = sealer.seal(target_id, Address(url=change["url"], secret=signing_secret))
    [target_row] = transaction.fetch("alerts/change_target", target_id=target_id, **column_values)
    # The URL is a secret, so only the time of its change is recorded.
    url_change = {"urlChangedAt": transaction.at} if "url" in change else {}
    new_values = _audited(target_row) | url_change
    audit.record(transaction, "alert_target.changed", target_id, before=_audited(earlier_row), after=new_values)
    return target_row


def remove_target(transaction: Transaction, target_id: UUID) -> None:
    """Delete an alert target, and the alerts that wait to be sent to it.

    :raises NotFound: the organization has no such target.
    """
    row = require_row(transaction.fetch("alerts/delete_target", target_id=target_id))
    audit.record(transaction, "alert_target.deleted", target_id, before=_audited(row))


def request_test(transaction: Transaction, target_id: UUID) -> UUID:
    """Put a test message for an alert target into the outbox.

    :returns: the ID of the delivery.
    :raises NotFound: the organization has no such target.
    :raises Conflict: the target is disabled.
    :raises RateLimited: the last test was less than ``TEST_INTERVAL`` ago.
    """
    target_row = lock_target(transaction, target_id)
    if not target_row.enabled:
        raise Conflict("The alert target is disabled; enable it first.")
    if not transaction.fetch("alerts/begin_test", target_id=target_id, tested_before=transaction.at - TEST_INTERVAL):
        interval_seconds = int(TEST_INTERVAL.total_seconds())
        raise RateLimited(
            f"An alert target can be tested once in {interval_seconds} seconds.",
            headers={"Retry-After": str(interval_seconds)},
        )
    return enqueue_test(transaction, target_id, target_row.name)


def lock_target(transaction: Transaction, target_id: UUID) -> Any:
    """Lock an alert target until the transaction ends, and return its row, including its encrypted address.

    :raises NotFound: the organization has no such target.
    """
    return require_row(transaction.fetch("alerts/lock_target", target_id=target_id))


def _refuse_taken_name(transaction: Transaction, name: str, target_id: UUID | None = None) -> None:
    """Raise ``Conflict`` if another target has the name. Lock the organization, so that the name stays free."""
    transaction.fetch("organizations/lock_organization")
    if any(row.name == name and row.target_id != target_id for row in transaction.fetch("alerts/list_targets")):
        raise Conflict("Another alert target has this name.", details={"name": ["is taken"]})


def _destination(settings: Settings, type_: str, url: str) -> str:
    try:
        return check_address(type_, url, AllowedNetworks(settings.alert_networks))
    except BadAddress as bad:
        raise ValidationError(details={"url": [str(bad)]}) from None
