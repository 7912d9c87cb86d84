"""``agentidp findings``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import click

from agentidp import findings
from agentidp.cli.lookup import find_agent, open_organization, refuse_missing
from agentidp.cli.options import WholeNumber, as_json_option, flag_option, name_option, organization_option
from agentidp.cli.output import show, show_activity, show_object
from agentidp.clock import utc_now
from agentidp.findings.actions import MAX_MUTE, MuteSchema, NoteSchema, apply_action
from agentidp.findings.finding import STATES
from agentidp.findings.identity import FindingChange
from agentidp.findings.listing import STORED_KINDS, filter_findings, represent_with_history
from agentidp.findings.store import read_finding, read_listing
from agentidp.http.schemas import MAX_DAYS

MEMBERS = ("severity", "kind", "agentName", "window", "summary", "causes", "next")
"""Members of a finding that ``agentidp findings compute`` prints without ``--json``. A terminal shows the first 5."""

STATE_MEMBERS = ("findingId", "state", *MEMBERS[:5], "acknowledgedAt", "mutedUntil")
"""Members of a finding that ``agentidp findings list`` prints without ``--json``. A terminal shows the first 7."""

id_argument = click.argument("finding_id", type=click.UUID, metavar="ID")
note_option = click.option("--note", help="A note that is stored with the change.")
_days_option = partial(
    click.option, "--days", type=WholeNumber(1, MAX_DAYS), default=findings.DEFAULT_DAYS, show_default=True
)

commands = click.Group(
    "findings",
    help="""Findings: an organization's unusual usage.

    compute evaluates the current usage and stores nothing. All other commands use the findings that were stored last,
    with their state.

    Findings with their state are printed as: id, state, severity, kind, agent, window, summary, time of
    acknowledgement, and until when they are muted.
    """,
)


@commands.command("list")
@organization_option
@_days_option(help="Only findings that were ongoing in the last N days, including today.")
@click.option("--state", type=click.Choice(STATES), help="Only findings in this state.")
@click.option("--kind", type=click.Choice(STORED_KINDS), help="Only findings of this kind.")
@name_option("--agent", "Only findings about this agent.")
@as_json_option
def list_findings(organization: str, days: int, agent: str | None, as_json: bool, **filters: Any) -> None:
    """List an organization's findings, most urgent first. Ongoing findings come before ended findings."""
    with open_organization(organization) as (services, database):
        agent_id = None
        if agent is not None:
            agent_id = find_agent(services, agent, organization_id=database.organization_id).agent_id
        listing = read_listing(database.run, database.transaction, database.at, services.settings, days=days)
    _warn_of_missing_kinds(listing.not_computed)
    matching_findings = filter_findings(listing.findings, agent=agent_id, **filters)
    finding_objects = [_represent_finding(finding, as_json) for finding in matching_findings]
    show(finding_objects, as_json, members=STATE_MEMBERS, columns=STATE_MEMBERS[:7])


@commands.command("compute")
@organization_option
@_days_option(help="Number of days, including today, whose usage is evaluated.")
@as_json_option
def compute_findings(organization: str, days: int, as_json: bool) -> None:
    """Compute an organization's findings now, and store nothing.

    Prints: severity, kind, agent, window, summary, possible causes, what to check.
    """
    with open_organization(organization) as (services, database):
        findings_query = findings.build_findings_query(database.at, services.settings, days=days)
        with show_activity("Computing the findings"):
            computed_findings = findings.compute_findings(database.run, findings_query)
    _warn_of_missing_kinds(computed_findings.not_computed)
    finding_objects = [_represent_finding(finding, as_json) for finding in computed_findings.findings]
    show(finding_objects, as_json, members=MEMBERS, columns=MEMBERS[:5])


@commands.command("show")
@id_argument
@organization_option
def show_finding(finding_id: UUID, organization: str) -> None:
    """Print a finding and its history as JSON."""
    with (
        refuse_missing(f"the organization has no finding {finding_id}"),
        open_organization(organization) as (_, database),
    ):
        finding = represent_with_history(database.fetch, read_finding(database.fetch, finding_id))
    show_object(finding, True)


@commands.command("acknowledge")
@id_argument
@organization_option
@note_option
@as_json_option
def acknowledge_finding(finding_id: UUID, organization: str, note: str | None, as_json: bool) -> None:
    """Acknowledge a finding and print it. The acknowledgement ends if the finding becomes more severe."""
    _change_and_print_finding(
        finding_id, organization, as_json, FindingChange.acknowledged, NoteSchema(), {"note": note}
    )


@commands.command("mute")
@id_argument
@organization_option
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%MZ"]),
    help="Day or time (UTC) at which the mute ends, at most a year from now.",
)
@click.option(
    "--days", type=WholeNumber(1, MAX_MUTE.days), help="Number of days until the mute ends, instead of --until."
)
@flag_option("--whole-organization", "whole_organization", "Mute findings of the same kind about all agents.")
@note_option
@as_json_option
def mute_findings(
    finding_id: UUID,
    organization: str,
    until: datetime | None,
    days: int | None,
    whole_organization: bool,
    note: str | None,
    as_json: bool,
) -> None:
    """Mute all findings of the same kind and agent as the finding ID, and print this finding.

    Muted findings are still listed. With --whole-organization, findings about all agents are muted.
    """
    if (until is None) == (days is None):
        raise click.UsageError("give --until or --days")
    ends_at = f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else (utc_now() + timedelta(days=days or 0)).isoformat()
    request_body = {"until": ends_at, "wholeOrganization": whole_organization, "note": note}
    _change_and_print_finding(finding_id, organization, as_json, FindingChange.muted, MuteSchema(), request_body)


@commands.command("unmute")
@id_argument
@organization_option
@note_option
@as_json_option
def unmute_findings(finding_id: UUID, organization: str, note: str | None, as_json: bool) -> None:
    """End the mutes of a finding, and print the finding.

    The command ends the mute of the finding's kind for its agent, and the mute of the kind for all agents.
    """
    _change_and_print_finding(finding_id, organization, as_json, FindingChange.unmuted, NoteSchema(), {"note": note})


def _change_and_print_finding(
    finding_id: UUID, organization: str, as_json: bool, action: FindingChange, schema: NoteSchema, body: dict[str, Any]
) -> None:
    action_parameters = schema.load(body)
    with (
        refuse_missing(f"the organization has no finding {finding_id}"),
        open_organization(organization) as (_, database),
        database.transaction() as transaction,
    ):
        finding = apply_action(transaction, finding_id, action, **action_parameters)
    show_object(_represent_finding(finding, as_json), as_json, members=STATE_MEMBERS)


def _warn_of_missing_kinds(not_computed: Iterable[str]) -> None:
    if missing := ", ".join(not_computed):
        click.echo(f"Warning: some findings were not computed, because the database was too slow: {missing}", err=True)


def _represent_finding(finding: Any, as_json: bool) -> dict[str, Any]:
    """Return the JSON members of a finding. Without *as_json*, the window is one string with two UTC instants."""
    members: dict[str, Any] = finding.represent()
    window_bounds = members["window"]
    return members if as_json else members | {"window": f"{window_bounds['from'][:16]}Z/{window_bounds['to'][:16]}Z"}
