"""``agentidp alerts``."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from agentidp.alerts import targets
from agentidp.alerts.addresses import TYPES
from agentidp.alerts.channels import Channels, Message, SendFailed
from agentidp.alerts.delivery import Dispatcher
from agentidp.alerts.messages import Organization
from agentidp.alerts.state_change import change_for_test
from agentidp.alerts.target_fields import AlertTargetChangeSchema, AlertTargetSchema, NewAlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import Candidate, database_named, one_of
from agentidp.cli.options import WholeNumber, as_json_option, given, member_options, organization_option, printed
from agentidp.cli.output import say, show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import OrganizationDatabase
from agentidp.http.errors import ServiceUnavailable
from agentidp.http.schemas import timestamp
from agentidp.jose.sealing import Unreadable

POLL_SECONDS = 2.0
"""Seconds between two checks of the outbox."""

target_argument = click.argument("target", metavar="ID|NAME")


@click.group("alerts")
def commands() -> None:
    """Alerts: findings that are sent to other services.

    These are webhooks, Alertmanager, chat, mail and paging services.
    """


@commands.group(
    "target",
    help=f"""Where an organization's alerts go.

    Targets are printed as: {printed(AlertTargetSchema)}. The destination is the scheme and host.
    """,
)
def target_commands() -> None:
    """All commands about targets."""


@target_commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List the alert targets of an organization, oldest first."""
    with opened() as services:
        rows = database_named(services, organization).fetch("alerts/list_targets")
    columns = ("targetId", "name", "type", "destination", "enabled", "lastSuccessAt", "lastError")
    show([targets.represent(row) for row in rows], as_json, columns=columns)


@target_commands.command("show")
@target_argument
@organization_option
@as_json_option
def show_(target: str, organization: str, as_json: bool) -> None:
    """Print a target."""
    with opened() as services:
        row = _target(database_named(services, organization), target)
    show([targets.represent(row)], as_json, one=True)


@target_commands.command("add")
@click.argument("type", type=click.Choice(tuple(TYPES)))
@organization_option
@member_options(NewAlertTargetSchema(exclude=["type"]))
@as_json_option
def add(organization: str, as_json: bool, **options: Any) -> None:
    """Add a target of a type. Its URL is a secret, so it is read from a file.

    Prints the target's id, and the key that signs its messages if it is a webhook. The key is shown only now.
    """
    new = NewAlertTargetSchema().load(given(NewAlertTargetSchema(), options))
    with opened() as services, database_named(services, organization).transaction() as transaction:
        row, secret = targets.add_target(transaction, services.settings, new)
    body = targets.represent(row)
    show(
        [(body if as_json else {"targetId": body["targetId"]}) | {"secret": secret}],
        as_json,
        one=True,
        only_now=["secret"],
    )


@target_commands.command("update")
@target_argument
@organization_option
@member_options(AlertTargetChangeSchema())
@as_json_option
def update(target: str, organization: str, as_json: bool, **options: Any) -> None:
    """Change a target and print it. Omitted options keep their values."""
    change = given(AlertTargetChangeSchema(), options)
    with opened() as services:
        database = database_named(services, organization)
        target_id = _target(database, target).target_id
        with database.transaction() as transaction:
            row = targets.update_target(
                transaction, services.settings, target_id, AlertTargetChangeSchema().load(change)
            )
    show([targets.represent(row)], as_json, one=True)


@target_commands.command("delete")
@asks_first
@target_argument
@organization_option
def delete(target: str, organization: str) -> None:
    """Delete a target, and the alerts that wait to be sent to it."""
    with opened() as services:
        database = database_named(services, organization)
        row = _target(database, target)

        def consequences() -> str:
            latest = database.fetch("alerts/list_deliveries", limit=1000)
            waiting = [one for one in latest if one.target_id == row.target_id and _status(one) == "waiting"]
            return (
                f"This deletes the alert target {row.name} ({row.type}, {row.destination}), and "
                f"{count(len(waiting), 'message')} not sent yet. Nobody else is sent them. This cannot be undone."
            )

        confirm(consequences)
        with services.database.of(database.organization_id, utc_now()).transaction() as transaction:
            targets.remove_target(transaction, row.target_id)


@target_commands.command("test")
@target_argument
@organization_option
def test(target: str, organization: str) -> None:
    """Send a test to a target from this machine, and print whether the target accepted it."""
    at = utc_now()
    with opened() as services:
        database = database_named(services, organization)
        target_id = _target(database, target).target_id
        with database.transaction() as transaction:
            row = targets.locked(transaction, target_id)
            [named] = transaction.fetch("organizations/get_organization")
        of = Organization(database.organization_id, named.name)
        change = change_for_test(row.name, at)
        try:
            address = TargetSealer(services.settings).open(target_id, bytes(row.sealed))
            message = Message(message_id=change.finding_id, organization=of, change=change)
            Channels(services.settings).send(row.type, address, message, at)
        except Unreadable:
            raise ConfigurationError("the instance secret does not decrypt the target's address") from None
        except SendFailed as failed:
            raise ConfigurationError(f"the target {row.name} did not accept the test: {failed}") from None
    say(f"The target {row.name} accepted the test.")


@commands.command("deliveries")
@organization_option
@click.option("--limit", type=WholeNumber(1, 1000), default=50, show_default=True, help="How many.")
@as_json_option
def deliveries(organization: str, limit: int, as_json: bool) -> None:
    """List the alerts that were sent or wait to be sent, newest first.

    Prints: id, target's id and name, finding's id, change, when it happened, attempts, status, time of the delivery or
    of the next attempt, and the last error.
    """
    with opened() as services:
        rows = database_named(services, organization).fetch("alerts/list_deliveries", limit=limit)
    columns = ("createdAt", "targetName", "findingId", "change", "status", "attempts", "at", "lastError")
    show([_delivery(row) for row in rows], as_json, columns=columns)


def _status(row: Any) -> str:
    return "delivered" if row.delivered_at else "abandoned" if row.abandoned_at else "waiting"


def _delivery(row: Any) -> dict[str, Any]:
    return {
        "deliveryId": str(row.delivery_id),
        "targetId": str(row.target_id),
        "targetName": row.target_name,
        "findingId": str(row.finding_id),
        "change": row.change,
        "createdAt": timestamp(row.created_at),
        "attempts": row.attempts,
        "status": _status(row),
        "at": timestamp(row.delivered_at or row.abandoned_at or row.next_attempt_at),
        "lastError": row.last_error,
    }


@commands.command("deliver")
@click.option("--once", is_flag=True, help="End when nothing is due.")
def deliver(once: bool) -> None:
    """Send the alerts that are due, until Ctrl-C."""
    with opened() as services:
        dispatcher = Dispatcher(services.settings, services.database, utc_now)
        with contextlib.closing(dispatcher), contextlib.suppress(KeyboardInterrupt):
            if once:
                dispatcher.deliver_due()
            while not once:
                try:
                    dispatcher.begin_due()
                except (ConfigurationError, DatabaseUnavailable):
                    click.echo(ServiceUnavailable.message, err=True)
                time.sleep(POLL_SECONDS)


def _target(database: OrganizationDatabase, target: str) -> Any:
    known = [Candidate(str(row.target_id), [row.name], row) for row in database.fetch("alerts/list_targets")]
    return one_of(target, known, kind="alert target")
