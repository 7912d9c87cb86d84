"""``agentidp finding``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

from agentidp.cli.context import opened
from agentidp.cli.options import as_json_option, organization_named, organization_option
from agentidp.cli.output import cell, show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.organization import Transaction
from agentidp.findings import DEFAULT_DAYS, KINDS
from agentidp.findings.actions import MAX_MUTE, MuteSchema, NoteSchema, acknowledge, mute, unmute
from agentidp.findings.listing import STATES, filtered, with_history
from agentidp.findings.store import KnownFinding, listing_of, read_finding
from agentidp.http.errors import NotFound
from agentidp.http.schemas import MAX_DAYS

id_argument = click.argument("finding_id", type=click.UUID, metavar="ID")
note_option = click.option("--note", help="For people.")


@click.group("finding")
def commands() -> None:
    """Findings with their state, as they were stored last.

    Findings are printed as: id, state, severity, kind, agent, window, summary, time of acknowledgement, and until when
    they are muted.
    """


@commands.command("list")
@organization_option
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help="How many days back a finding may have ended, today included.",
)
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@click.option("--kind", type=click.Choice([*KINDS]), help="Only this kind.")
@click.option("--agent", type=click.UUID, metavar="ID", help="Only those that name this agent.")
@as_json_option
def list_(organization_id: str, days: int, as_json: bool, **filters: Any) -> None:
    """List an organization's findings: what is ongoing and most urgent first."""
    at = utc_now()
    with opened() as services:
        organization_named(services, organization_id)
        database = services.database.of(organization_id, at)
        listing = listing_of(database.run, database.transaction, at, services.settings, days=days)
    if listing.evaluation.not_computed:
        missing = ", ".join(listing.evaluation.not_computed)
        click.echo(f"not computed, because the database was too slow: {missing}", err=True)
    _print(filtered(listing, **filters), as_json)


@commands.command("show")
@id_argument
@organization_option
def show_(finding_id: UUID, organization_id: str) -> None:
    """Print the finding ID and its history as JSON."""
    with opened() as services:
        organization_named(services, organization_id)
        run = services.database.of(organization_id, utc_now()).run
        known = read_finding(run, finding_id)
        if known is None:
            raise _no_such(finding_id)
        finding = with_history(run, known)
    show([finding], True, one=True)


@commands.command("acknowledge")
@id_argument
@organization_option
@note_option
@as_json_option
def acknowledge_(finding_id: UUID, organization_id: str, note: str | None, as_json: bool) -> None:
    """Acknowledge the finding ID and print it: somebody deals with it. An escalation takes that back."""

    def change(transaction: Transaction) -> KnownFinding:
        return acknowledge(transaction, finding_id, **NoteSchema().load({"note": note}))

    _change(finding_id, organization_id, as_json, change)


@commands.command("mute")
@id_argument
@organization_option
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%MZ"]), help="In UTC, up to a year from now.")
@click.option("--days", type=click.IntRange(1, MAX_MUTE.days), help="For so many days from now, and not --until.")
@click.option("--whole-organization", is_flag=True, help="Findings of this kind about any agent.")
@note_option
@as_json_option
def mute_(
    finding_id: UUID,
    organization_id: str,
    until: datetime | None,
    days: int | None,
    whole_organization: bool,
    note: str | None,
    as_json: bool,
) -> None:
    """Mute findings of this kind about this agent, and print the finding ID. They are still listed."""
    if (until is None) == (days is None):
        raise click.UsageError("give --until or --days")
    given = {
        "until": f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else (utc_now() + timedelta(days=days or 0)).isoformat(),
        "wholeOrganization": whole_organization,
        "note": note,
    }

    def change(transaction: Transaction) -> KnownFinding:
        return mute(transaction, finding_id, **MuteSchema().load(given))

    _change(finding_id, organization_id, as_json, change)


@commands.command("unmute")
@id_argument
@organization_option
@note_option
@as_json_option
def unmute_(finding_id: UUID, organization_id: str, note: str | None, as_json: bool) -> None:
    """End the mutes that apply to the finding ID: that of its kind and agent, and that of its kind. Print it."""

    def change(transaction: Transaction) -> KnownFinding:
        return unmute(transaction, finding_id, **NoteSchema().load({"note": note}))

    _change(finding_id, organization_id, as_json, change)


def _change(
    finding_id: UUID, organization_id: str, as_json: bool, change: Callable[[Transaction], KnownFinding]
) -> None:
    with opened() as services:
        organization_named(services, organization_id)
        try:
            with services.database.of(organization_id, utc_now()).transaction() as transaction:
                finding = change(transaction)
        except NotFound:
            raise _no_such(finding_id) from None
    _print([finding], as_json, one=True)


def _no_such(finding_id: UUID) -> ConfigurationError:
    return ConfigurationError(f"the organization has no finding {finding_id}")


def _print(found: list[KnownFinding], as_json: bool, *, one: bool = False) -> None:
    rows = [finding.represent() for finding in found]
    if as_json:
        show(rows, as_json, one=one)
        return
    for row in rows:
        window = f"{row['window']['from'][:16]}Z/{row['window']['to'][:16]}Z"
        cells = (row["findingId"], row["state"], row["severity"], row["kind"], row["agentName"], window, row["summary"])
        click.echo("\t".join(cell(value) for value in (*cells, row["acknowledgedAt"], row["mutedUntil"])))
