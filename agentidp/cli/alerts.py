"""``agentidp alerts``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, TextIO
from uuid import UUID

import click

from agentidp.alerts import targets
from agentidp.alerts.addresses import TYPES
from agentidp.alerts.channels import Channels, Message, SendFailed
from agentidp.alerts.delivery import Dispatcher
from agentidp.alerts.messages import Organization
from agentidp.alerts.state_change import KINDS, SEVERITIES, change_for_test
from agentidp.alerts.target_routes import AlertTargetChangeSchema, NewAlertTargetSchema
from agentidp.alerts.target_secrets import TargetSealer
from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.http.errors import NotFound, ServiceUnavailable, existing
from agentidp.http.schemas import timestamp
from agentidp.jose.sealing import Unreadable
from agentidp.services import Services

POLL_SECONDS = 2.0
"""Between two looks into the outbox."""

id_argument = click.argument("target_id", type=click.UUID, metavar="ID")
kind_option = click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="May be given several times. Default: every kind."
)
severity_option = click.option(
    "--minimum-severity", type=click.Choice(SEVERITIES), help="Of the findings that are sent. Default: warning."
)


@click.group("alerts")
def commands() -> None:
    """Alerts: findings that are sent to webhooks, Alertmanager, chat, mail and paging services."""


@commands.group("target")
def target() -> None:
    """Where an organization's alerts go.

    Targets are printed as: id, name, type, scheme and host, kinds, minimum severity, whether it is enabled, times of
    creation, of the last change, of the last success, of the last failure and of the first failure since the last
    success, and the last error.
    """


@target.command("list")
@organization_option
@as_json_option
def list_(organization_id: str, as_json: bool) -> None:
    """List the alert targets of an organization, oldest first."""
    with opened() as services:
        organization_named(services, organization_id)
        rows = services.database.of(organization_id, utc_now()).fetch("alerts/list_targets")
    show([targets.represent(row) for row in rows], as_json)


@target.command("show")
@id_argument
@organization_option
@as_json_option
def show_(target_id: UUID, organization_id: str, as_json: bool) -> None:
    """Print the target ID."""
    with opened() as services, _named(target_id):
        organization_named(services, organization_id)
        database = services.database.of(organization_id, utc_now())
        row = existing(database.fetch("alerts/get_target", target_id=target_id))
    show([targets.represent(row)], as_json, one=True)


@target.command("add")
@click.argument("type_", type=click.Choice(tuple(TYPES)))
@organization_option
@click.option("--name", required=True, help="For people.")
@click.option("--url-file", type=click.File(), default="-", help="The file with the URL. Default: standard input.")
@kind_option
@severity_option
@as_json_option
def add(
    type_: str,
    organization_id: str,
    name: str,
    url_file: TextIO,
    kinds: tuple[str, ...],
    minimum_severity: str | None,
    as_json: bool,
) -> None:
    """Add a target of a type. Its URL is a secret, so it is read from a file.

    Prints its id, and the key if its messages are signed with one, which is shown only now.
    """
    new: dict[str, Any] = {"type": type_, "name": name, "url": _url(url_file), "kinds": list(kinds) or None}
    new |= {"minimumSeverity": minimum_severity} if minimum_severity else {}
    with opened() as services, _transaction(services, organization_id) as transaction:
        row, secret = targets.add_target(transaction, services.settings, **NewAlertTargetSchema().load(new))
    body = targets.represent(row)
    show([(body if as_json else {"targetId": body["targetId"]}) | {"secret": secret}], as_json, one=True)


@target.command("update")
@id_argument
@organization_option
@click.option("--name", help="The new name.")
@click.option("--url-file", type=click.File(), help="The file with the new URL; - for standard input.")
@kind_option
@click.option("--every-kind", is_flag=True, help="Send findings of every kind.")
@severity_option
@click.option("--enable/--disable", "enabled", default=None, help="Whether anything is sent.")
@as_json_option
def update(
    target_id: UUID,
    organization_id: str,
    kinds: tuple[str, ...],
    every_kind: bool,
    url_file: TextIO | None,
    minimum_severity: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Change the target ID and print it. What is left out stays."""
    if kinds and every_kind:
        raise click.UsageError("give --kind or --every-kind, not both")
    change = {name: value for name, value in options.items() if value is not None}
    change |= {"minimumSeverity": minimum_severity} if minimum_severity else {}
    change |= {"kinds": list(kinds) or None} if kinds or every_kind else {}
    change |= {"url": _url(url_file)} if url_file else {}
    if not change:
        raise click.UsageError("name something to change")
    loaded = AlertTargetChangeSchema()
    with opened() as services, _named(target_id), _transaction(services, organization_id) as transaction:
        row = targets.update_target(transaction, services.settings, target_id, loaded.load(change))
    show([targets.represent(row)], as_json, one=True)


@target.command("delete")
@id_argument
@organization_option
def delete(target_id: UUID, organization_id: str) -> None:
    """Delete the target ID, and what waits to be sent to it."""
    with opened() as services, _named(target_id), _transaction(services, organization_id) as transaction:
        targets.remove_target(transaction, target_id)


@target.command("test")
@id_argument
@organization_option
def test(target_id: UUID, organization_id: str) -> None:
    """Send a test to the target ID from here, and say whether it was accepted."""
    at = utc_now()
    with opened() as services, _named(target_id):
        with _transaction(services, organization_id) as transaction:
            row = targets.locked(transaction, target_id)
            [named] = transaction.fetch("organizations/get_organization")
        organization = Organization(organization_id, named.name)
        change = change_for_test(row.name, at)
        try:
            address = TargetSealer(services.settings).open(target_id, bytes(row.sealed))
            message = Message(message_id=change.finding_id, organization=organization, change=change)
            Channels(services.settings).send(row.type, address, message, at)
        except Unreadable:
            raise ConfigurationError("the instance secret does not decrypt the target's address") from None
        except SendFailed as failed:
            raise ConfigurationError(f"the target {row.name} did not accept the test: {failed}") from None
    click.echo(f"The target {row.name} accepted the test.")


@commands.command("deliveries")
@organization_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many.")
@as_json_option
def deliveries(organization_id: str, limit: int, as_json: bool) -> None:
    """List what was sent and what waits, the newest first.

    Prints: id, target's id and name, finding's id, change, when it happened, attempts, status, time of the delivery or
    of the next attempt, and the last error.
    """
    with opened() as services:
        organization_named(services, organization_id)
        rows = services.database.of(organization_id, utc_now()).fetch("alerts/list_deliveries", limit=limit)
    show([_delivery(row) for row in rows], as_json)


def _delivery(row: Any) -> dict[str, Any]:
    status = "delivered" if row.delivered_at else "abandoned" if row.abandoned_at else "waiting"
    return {
        "deliveryId": str(row.delivery_id),
        "targetId": str(row.target_id),
        "targetName": row.target_name,
        "findingId": str(row.finding_id),
        "change": row.change,
        "createdAt": timestamp(row.created_at),
        "attempts": row.attempts,
        "status": status,
        "at": timestamp(row.delivered_at or row.abandoned_at or row.next_attempt_at),
        "lastError": row.last_error,
    }


@commands.command("deliver")
@click.option("--once", is_flag=True, help="End when nothing is due.")
def deliver(once: bool) -> None:
    """Send what is due, until Ctrl-C."""
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


def _url(file: TextIO) -> str:
    """The first line of a file: an argument would be seen in the list of processes."""
    return file.readline().strip()


@contextlib.contextmanager
def _transaction(services: Services, organization_id: str) -> Iterator[Transaction]:
    organization_named(services, organization_id)
    with services.database.of(organization_id, utc_now()).transaction() as transaction:
        yield transaction


@contextlib.contextmanager
def _named(target_id: UUID) -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise ConfigurationError(f"the organization has no alert target {target_id}") from None
