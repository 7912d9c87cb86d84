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
from agentidp.http.schemas import columns_after
from agentidp.jose.sealing import Unreadable
from agentidp.outbound.networks import AllowedNetworks

MAX_TARGETS = 50  # alert targets per organization
TEST_INTERVAL = timedelta(seconds=30)  # minimum time between two tests of the same target

_CHANGEABLE = AlertTargetChangeSchema(exclude=["url"])

represent = AlertTargetSchema().as_json
"""Return an alert target's row as JSON of the API, without its secrets."""

_audited = AlertTargetSchema(only=["type", "destination", *_CHANGEABLE.fields]).as_json
"""Return the fields of an alert target that the audit trail records, without secrets."""


def add_target(opened: Transaction, settings: Settings, new: dict[str, Any]) -> tuple[Any, str | None]:
    """Create an alert target.

    :param new: the fields loaded by :class:`NewAlertTargetSchema`.
    :returns: the target's row, and the key that signs its messages, or None if it is not a webhook.
    :raises ValidationError: the address is not allowed for the type.
    :raises Conflict: another target has the name, or the organization has the maximum number of targets.
    """
    columns = dict(new)
    url, type_ = columns.pop("url"), columns["type"]
    target_id, secret = uuid.uuid4(), new_secret() if type_ == "webhook" else None
    destination = _destination(settings, type_, url)
    _refuse_taken_name(opened, columns["name"])
    rows = opened.fetch(
        "alerts/add_target",
        target_id=target_id,
        destination=destination,
        sealed=TargetSealer(settings).seal(target_id, Address(url=url, secret=secret)),
        most=MAX_TARGETS,
        **columns,
    )
    if not rows:
        raise Conflict(f"The organization has {MAX_TARGETS} alert targets; delete one first.")
    [row] = rows
    audit.record(opened, "alert_target.created", target_id, after=_audited(row))
    return row, secret


def update_target(opened: Transaction, settings: Settings, target_id: UUID, change: dict[str, Any]) -> Any:
    """Change an alert target.

    :param change: the fields loaded by :class:`AlertTargetChangeSchema`. Omitted fields are unchanged.
    :returns: the target's new row.
    :raises NotFound: the organization has no such target.
    :raises ValidationError: the address is not allowed for the target's type.
    :raises Conflict: another target has the name, or the address changes, but the instance secret does not decrypt the
        target's key.
    """
    if "name" in change:
        _refuse_taken_name(opened, change["name"], target_id)
    previous = lock_target(opened, target_id)
    values = columns_after(_CHANGEABLE, previous, change)
    values |= {"destination": previous.destination, "sealed": bytes(previous.sealed)}
    if "url" in change:
        values["destination"] = _destination(settings, previous.type, change["url"])
        sealer = TargetSealer(settings)
        try:
            secret = sealer.open(target_id, bytes(previous.sealed)).secret
        except Unreadable:
            raise Conflict("The instance secret does not decrypt the target's key: create another target.") from None
        values["sealed"] = sealer.seal(target_id, Address(url=change["url"], secret=secret))
    [row] = opened.fetch("alerts/change_target", target_id=target_id, **values)
    # The URL is a secret, so only the time of its change is recorded.
    url_change = {"urlChangedAt": opened.at} if "url" in change else {}
    after = _audited(row) | url_change
    audit.record(opened, "alert_target.changed", target_id, before=_audited(previous), after=after)
    return row


def remove_target(opened: Transaction, target_id: UUID) -> None:
    """Delete an alert target, and the alerts that wait to be sent to it.

    :raises NotFound: the organization has no such target.
    """
    row = require_row(opened.fetch("alerts/delete_target", target_id=target_id))
    audit.record(opened, "alert_target.deleted", target_id, before=_audited(row))


def request_test(opened: Transaction, target_id: UUID) -> UUID:
    """Put a test of an alert target into the outbox.

    :returns: the ID of the delivery.
    :raises NotFound: the organization has no such target.
    :raises Conflict: the target is disabled.
    :raises RateLimited: the last test was less than ``TEST_INTERVAL`` ago.
    """
    row = lock_target(opened, target_id)
    if not row.enabled:
        raise Conflict("The alert target is disabled; enable it first.")
    if not opened.fetch("alerts/begin_test", target_id=target_id, tested_before=opened.at - TEST_INTERVAL):
        seconds = int(TEST_INTERVAL.total_seconds())
        raise RateLimited(
            f"An alert target can be tested once in {seconds} seconds.", headers={"Retry-After": str(seconds)}
        )
    return enqueue_test(opened, target_id, row.name)


def lock_target(opened: Transaction, target_id: UUID) -> Any:
    """Lock an alert target in the open transaction, and return its row with its encrypted address.

    :raises NotFound: the organization has no such target.
    """
    return require_row(opened.fetch("alerts/lock_target", target_id=target_id))


def _refuse_taken_name(opened: Transaction, name: str, target_id: UUID | None = None) -> None:
    """Refuse a name that another target than *target_id* has. Lock the organization, so that the name stays free."""
    opened.fetch("organizations/lock_organization")
    if any(row.name == name and row.target_id != target_id for row in opened.fetch("alerts/list_targets")):
        raise Conflict("Another alert target has this name.", details={"name": ["is taken"]})


def _destination(settings: Settings, type_: str, url: str) -> str:
    try:
        return check_address(type_, url, AllowedNetworks(settings.alert_networks))
    except BadAddress as bad:
        raise ValidationError(details={"url": [str(bad)]}) from None
