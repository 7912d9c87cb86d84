"""``agentidp alerts``."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from agentidp.alerts import targets
from agentidp.alerts.addresses import TYPES
from agentidp.alerts.channels import Address, Channels, SendFailed
from agentidp.alerts.delivery import Dispatcher
from agentidp.alerts.messages import Message
from agentidp.alerts.state_change import build_test_change
from agentidp.alerts.target_fields import AlertTargetChangeSchema, AlertTargetSchema, NewAlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import begin_transaction, find_row, open_organization
from agentidp.cli.options import (
    WholeNumber,
    add_member_options,
    as_json_option,
    describe_fields,
    flag_option,
    organization_option,
    read_options,
)
from agentidp.cli.output import print_text, show, show_object
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.errors import ServiceUnavailable, require_row
from agentidp.http.schemas import timestamp
from agentidp.http.text import format_count
from agentidp.jose.sealing import Unreadable
from agentidp.services import Services

POLL_SECONDS = 2.0
"""Seconds between two queries for due alerts."""

target_argument = click.argument("target", metavar="ID|NAME")

commands = click.Group(
    "alerts",
    help="""Alerts: findings that are sent to other services.

    These are webhooks, Alertmanager, chat, mail and paging services.
    """,
)

target_commands = click.Group(
    "target",
    help=f"""Alert targets: the services to which an organization's alerts are sent.

    Targets are printed as: {describe_fields(AlertTargetSchema)}. The destination is the scheme and host.
    """,
)
commands.add_command(target_commands)


@target_commands.command("list")
@organization_option
@as_json_option
def list_targets(organization: str, as_json: bool) -> None:
    """List the alert targets of an organization, oldest first."""
    with open_organization(organization) as (_, database):
        target_rows = database.fetch("alerts/list_targets")
    table_columns = ("targetId", "name", "type", "destination", "enabled", "lastSuccessAt", "lastError")
    show([targets.represent(target_row) for target_row in target_rows], as_json, columns=table_columns)


@target_commands.command("show")
@target_argument
@organization_option
@as_json_option
def show_target(target: str, organization: str, as_json: bool) -> None:
    """Print an alert target."""
    with open_organization(organization) as (_, database):
        target_row = _find_target(database, target)
    show_object(targets.represent(target_row), as_json)


@target_commands.command("add")
@click.argument("type", type=click.Choice(tuple(TYPES)))
@organization_option
@add_member_options(NewAlertTargetSchema(exclude=["type"]))
@as_json_option
def add_target(organization: str, as_json: bool, **options: Any) -> None:
    """Add an alert target of the type TYPE. Its URL is a secret, so the command reads the URL from a file.

    Prints the target's id. For a webhook, also prints the key that signs its messages.
    """
    new_target = NewAlertTargetSchema().load(read_options(NewAlertTargetSchema(), options))
    with open_organization(organization) as (services, database), database.transaction() as transaction:
        target_row, signing_secret = targets.add_target(transaction, services.settings, new_target)
    show_object(targets.represent(target_row) | {"secret": signing_secret}, as_json, members=["targetId", "secret"])


@target_commands.command("update")
@target_argument
@organization_option
@add_member_options(AlertTargetChangeSchema())
@as_json_option
def update_target(target: str, organization: str, as_json: bool, **options: Any) -> None:
    """Change an alert target and print it. Omitted options keep their values."""
    change = AlertTargetChangeSchema().load(read_options(AlertTargetChangeSchema(), options))
    with open_organization(organization) as (services, database):
        target_id = _find_target(database, target).target_id
        with database.transaction() as transaction:
            target_row = targets.update_target(transaction, services.settings, target_id, change)
    show_object(targets.represent(target_row), as_json)


@target_commands.command("delete")
@require_confirmation
@target_argument
@organization_option
def delete_target(target: str, organization: str) -> None:
    """Delete an alert target, and the alerts that were not sent to it yet."""
    with open_organization(organization) as (services, database):
        target_row = _find_target(database, target)

        def describe_consequences() -> str:
            deliveries = database.fetch("alerts/list_deliveries", limit=1000)
            statuses = [_find_status(delivery) for delivery in deliveries if delivery.target_id == target_row.target_id]
            return (
                f"This deletes the alert target {target_row.name} ({target_row.type}, {target_row.destination}). "
                f"{format_count(statuses.count('waiting'), 'waiting message')} will not be sent. A deletion cannot be "
                "undone."
            )

        confirm(describe_consequences)
        with begin_transaction(services, database) as transaction:
            targets.remove_target(transaction, target_row.target_id)


@target_commands.command("test")
@target_argument
@organization_option
def send_test_message(target: str, organization: str) -> None:
    """Send a test message to an alert target from this machine, and print whether the target accepted the message."""
    with open_organization(organization) as (services, database):
        target_row, target_address = _fetch_target_and_address(services, database, target)
        [organization_row] = database.fetch("organizations/get_organization")
        test_finding_change = build_test_change(target_row.name, database.at)
        alert_message = Message(
            message_id=test_finding_change.finding_id,
            organization_id=database.organization_id,
            organization_name=organization_row.name,
            change=test_finding_change,
        )
        try:
            Channels(services.settings).send(target_row.type, target_address, alert_message, database.at)
        except SendFailed as failed:
            raise ConfigurationError(f"the target {target_row.name} did not accept the test: {failed}") from None
    print_text(f"The target {target_row.name} accepted the test.")


@target_commands.command("key")
@target_argument
@organization_option
def show_webhook_key(target: str, organization: str) -> None:
    """Print the key that signs the messages of a webhook. The key is a secret."""
    with open_organization(organization) as (services, database):
        target_row, target_address = _fetch_target_and_address(services, database, target)
    if target_address.secret is None:
        raise ConfigurationError(f"the target {target_row.name} is not a webhook, so it has no key")
    print_text(target_address.secret)


@commands.command("deliveries")
@organization_option
@click.option("--limit", type=WholeNumber(1, 1000), default=50, show_default=True, help="Maximum number of alerts.")
@as_json_option
def list_deliveries(organization: str, limit: int, as_json: bool) -> None:
    """List the alerts that were sent or wait to be sent, newest first.

    Prints: alert's id, target's id and name, finding's id, the change of the finding, time of the change, number of
    attempts, status, time of the delivery or of the next attempt, and the last error.
    """
    with open_organization(organization) as (_, database):
        delivery_rows = database.fetch("alerts/list_deliveries", limit=limit)
    table_columns = ("createdAt", "targetName", "findingId", "change", "status", "attempts", "at", "lastError")
    show([_represent_delivery(delivery_row) for delivery_row in delivery_rows], as_json, columns=table_columns)


def _find_status(delivery_row: Any) -> str:
    return "delivered" if delivery_row.delivered_at else "abandoned" if delivery_row.abandoned_at else "waiting"


def _represent_delivery(delivery_row: Any) -> dict[str, Any]:
    return {
        "deliveryId": str(delivery_row.delivery_id),
        "targetId": str(delivery_row.target_id),
        "targetName": delivery_row.target_name,
        "findingId": str(delivery_row.finding_id),
        "change": delivery_row.change,
        "createdAt": timestamp(delivery_row.created_at),
        "attempts": delivery_row.attempts,
        "status": _find_status(delivery_row),
        "at": timestamp(delivery_row.delivered_at or delivery_row.abandoned_at or delivery_row.next_attempt_at),
        "lastError": delivery_row.last_error,
    }


@commands.command("deliver")
@flag_option("--once", "once", "End as soon as no alert is due.")
def send_due_alerts(once: bool) -> None:
    """Send the alerts that are due, until Ctrl-C."""
    with open_services() as services:
        dispatcher = Dispatcher(services.settings, services.database, utc_now)
        with contextlib.closing(dispatcher), contextlib.suppress(KeyboardInterrupt):
            if once:
                dispatcher.send_due_messages()
            while not once:
                try:
                    dispatcher.start_turns()
                except (ConfigurationError, DatabaseUnavailable):
                    click.echo(ServiceUnavailable.message, err=True)
                time.sleep(POLL_SECONDS)


def _fetch_target_and_address(services: Services, database: OrganizationDatabase, target: str) -> tuple[Any, Address]:
    """Return the row and the decrypted address of the alert target with this ID or name."""
    target_id = _find_target(database, target).target_id
    target_row = require_row(database.fetch("alerts/get_target", target_id=target_id))
    try:
        return target_row, TargetSealer(services.settings).open(target_id, bytes(target_row.sealed))
    except Unreadable:
        raise ConfigurationError("the instance secret does not decrypt the target's address") from None


def _find_target(database: OrganizationDatabase, target: str) -> Any:
    return find_row(target, database.fetch("alerts/list_targets"), "target_id", "name", kind="alert target")
