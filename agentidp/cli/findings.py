"""``agentidp findings``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

from agentidp import findings
from agentidp.cli.context import opened
from agentidp.cli.named import agent_named, database_named, organization_named
from agentidp.cli.options import WholeNumber, as_json_option, organization_option
from agentidp.cli.output import show
from agentidp.cli.progress import saying
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.findings.actions import MAX_MUTE, MuteSchema, NoteSchema, act
from agentidp.findings.finding import STATES, Finding
from agentidp.findings.identity import Happening
from agentidp.findings.listing import STORED_KINDS, filtered, with_history
from agentidp.findings.store import listing_of, read_finding
from agentidp.http.errors import NotFound
from agentidp.http.schemas import MAX_DAYS

id_argument = click.argument("finding_id", type=click.UUID, metavar="ID")
note_option = click.option("--note", help="For people.")


@click.group("findings")
def commands() -> None:
    """Findings: an organization's unusual usage.

    compute evaluates the current usage and stores nothing. All other commands use the findings that were stored last,
    with their state.

    Findings with their state are printed as: id, state, severity, kind, agent, window, summary, time of
    acknowledgement, and until when they are muted.
    """


@commands.command("list")
@organization_option
@click.option(
    "--days",
    type=WholeNumber(1, MAX_DAYS),
    default=findings.DEFAULT_DAYS,
    show_default=True,
    help="How many days back a finding may have ended, today included.",
)
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@click.option("--kind", type=click.Choice(STORED_KINDS), help="Only this kind.")
@click.option("--agent", metavar="ID|NAME", help="Only those that name this agent.")
@as_json_option
def list_(organization: str, days: int, agent: str | None, as_json: bool, **filters: Any) -> None:
    """List an organization's findings, most urgent first. Ongoing findings come before ended findings."""
    at = utc_now()
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        named = None if agent is None else agent_named(services, agent, organization_id=organization_id).agent_id
        database = services.database.of(organization_id, at)
        listing = listing_of(database.run, database.transaction, at, services.settings, days=days)
    _say_what_is_missing(listing.not_computed)
    _print(filtered(listing.findings, agent=named, **filters), as_json)


@commands.command("compute")
@organization_option
@click.option(
    "--days",
    type=WholeNumber(1, MAX_DAYS),
    default=findings.DEFAULT_DAYS,
    show_default=True,
    help="How many days back, today included.",
)
@as_json_option
def compute(organization: str, days: int, as_json: bool) -> None:
    """Compute an organization's findings now, and store nothing.

    Prints: severity, kind, agent, window, summary, possible causes, what to check.
    """
    at = utc_now()
    with opened() as services:
        run = services.database.of(organization_named(services, organization).organization_id, at).run
        query = findings.findings_query(at, services.settings, days=days)
        with saying("Computing the findings"):
            result = findings.findings(run, query)
    _say_what_is_missing(result.not_computed)
    found = [finding.represent() for finding in result.findings]
    names = ("severity", "kind", "agentName", "window", "summary", "causes", "next")
    rows = found if as_json else [{name: (one | {"window": _window(one)})[name] for name in names} for one in found]
    show(rows, as_json, columns=names[:5])


@commands.command("show")
@id_argument
@organization_option
def show_(finding_id: UUID, organization: str) -> None:
    """Print the finding ID and its history as JSON."""
    with opened() as services:
        fetch = database_named(services, organization).fetch
        try:
            finding = with_history(fetch, read_finding(fetch, finding_id))
        except NotFound:
            raise _no_such(finding_id) from None
    show([finding], True, one=True)


@commands.command("acknowledge")
@id_argument
@organization_option
@note_option
@as_json_option
def acknowledge_(finding_id: UUID, organization: str, note: str | None, as_json: bool) -> None:
    """Acknowledge the finding ID and print it. An escalation ends the acknowledgement."""
    _act(finding_id, organization, as_json, Happening.acknowledged, NoteSchema(), {"note": note})


@commands.command("mute")
@id_argument
@organization_option
@click.option("--until", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%MZ"]), help="In UTC, up to a year from now.")
@click.option("--days", type=WholeNumber(1, MAX_MUTE.days), help="For so many days from now, and not --until.")
@click.option("--whole-organization", is_flag=True, help="Findings of this kind about any agent.")
@note_option
@as_json_option
def mute_(
    finding_id: UUID,
    organization: str,
    until: datetime | None,
    days: int | None,
    whole_organization: bool,
    note: str | None,
    as_json: bool,
) -> None:
    """Mute findings like the finding ID, and print it.

    This mutes findings of the same kind about the same agent. Muted findings are still listed.
    """
    if (until is None) == (days is None):
        raise click.UsageError("give --until or --days")
    given = {
        "until": f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else (utc_now() + timedelta(days=days or 0)).isoformat(),
        "wholeOrganization": whole_organization,
        "note": note,
    }
    _act(finding_id, organization, as_json, Happening.muted, MuteSchema(), given)


@commands.command("unmute")
@id_argument
@organization_option
@note_option
@as_json_option
def unmute_(finding_id: UUID, organization: str, note: str | None, as_json: bool) -> None:
    """End the mutes that apply to the finding ID, and print it.

    This ends the mute of the finding's kind for its agent, and the mute of the finding's kind for all agents.
    """
    _act(finding_id, organization, as_json, Happening.unmuted, NoteSchema(), {"note": note})


def _act(
    finding_id: UUID, organization: str, as_json: bool, action: Happening, schema: NoteSchema, given: dict[str, Any]
) -> None:
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        try:
            with services.database.of(organization_id, utc_now()).transaction() as transaction:
                finding = act(transaction, finding_id, action, **schema.load(given))
        except NotFound:
            raise _no_such(finding_id) from None
    _print([finding], as_json, one=True)


def _no_such(finding_id: UUID) -> ConfigurationError:
    return ConfigurationError(f"the organization has no finding {finding_id}")


def _say_what_is_missing(not_computed: Iterable[str]) -> None:
    if missing := ", ".join(not_computed):
        click.echo(f"not computed, because the database was too slow: {missing}", err=True)


def _print(found: Sequence[Finding], as_json: bool, *, one: bool = False) -> None:
    rows = [finding.represent() for finding in found]
    if not as_json:
        names = (
            "findingId",
            "state",
            "severity",
            "kind",
            "agentName",
            "window",
            "summary",
            "acknowledgedAt",
            "mutedUntil",
        )
        rows = [{name: (row | {"window": _window(row)})[name] for name in names} for row in rows]
    show(rows, as_json, one=one, columns=("findingId", "state", "severity", "kind", "agentName", "window", "summary"))


def _window(row: dict[str, Any]) -> str:
    return f"{row['window']['from'][:16]}Z/{row['window']['to'][:16]}Z"
