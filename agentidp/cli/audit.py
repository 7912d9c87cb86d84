"""``agentidp audit``."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import psycopg

from agentidp import audit
from agentidp.audit import upkeep, words
from agentidp.audit.reading import build_list_call, represent_rows
from agentidp.audit.verification import MISSING, EventHash, Verification
from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.context import open_services
from agentidp.cli.lookup import find_organization
from agentidp.cli.options import WholeNumber, as_json_option, flag_option, name_option, parse_time
from agentidp.cli.output import is_terminal, show, show_activity, track_progress
from agentidp.clock import utc_now
from agentidp.config import MAX_AUDIT_DAYS, ConfigurationError
from agentidp.db.database import connect
from agentidp.http.text import format_count
from agentidp.registry import organizations
from agentidp.services import Services

POLL_SECONDS = 2.0
"""Seconds between two checks for further audit events."""

trails_option = name_option("--organization", "Only this organization's trail. Default: all trails.")

commands = click.Group(
    "audit",
    help="""The audit trail: who changed what.

    Each organization has an audit trail. Changes of the signing keys are in the instance's audit trail.
    """,
)


@commands.command("list")
@name_option("--organization", "The organization's id (org-…), or its name. Default: the instance's own trail.")
@click.option(
    "--actor", help="Only events by this actor: an agent's id, or the name of a user of the operating system."
)
@click.option(
    "--action",
    type=click.Choice(sorted(audit.ACTIONS)),
    metavar="ACTION",
    help="Only events with this action, for example agent.created.",
)
@click.option("--subject", help="Only events about the object with this id.")
@click.option("--since", type=parse_time, metavar="TIME", help="Only events at or after this day or time.")
@click.option("--until", type=parse_time, metavar="TIME", help="Only events before this day or time.")
@click.option("--limit", type=WholeNumber(1, 100_000), default=100, show_default=True, help="Maximum number of events.")
@as_json_option
def list_events(organization: str | None, as_json: bool, **filters: Any) -> None:
    """List events, newest first.

    Prints: sequence number, time, kind of actor, actor, action, subject, values before the change, values after the
    change. On a terminal, each event is a sentence.
    """
    with open_services() as services:
        trail_id = audit.INSTANCE if organization is None else _find_trail_id(services, organization)
        database = services.database.of(trail_id, utc_now())
        [event_rows] = database.run(build_list_call(below=None, **filters))
        events = represent_rows(event_rows)
        names_by_id = words.map_names_by_id(*database.run(*words.build_name_calls(events)))
    member_names = ["sequence", "at", "actorType", "actor", "action", "subject", "before", "after"]
    if is_terminal() and not as_json:
        member_names.append("event")
        events = [event | {"event": words.describe_event(event, names_by_id)} for event in events]
    show(events, as_json, members=member_names, columns=("sequence", "at", "event", "after"))


def _find_trail_id(services: Services, organization: str) -> str:
    """Return an organization's ID from its ID or name. IDs are unchecked, because deleted organizations keep trails."""
    if organizations.is_organization_id(organization):
        return organization
    return str(find_organization(services, organization).organization_id)


def _list_trail_ids(services: Services, connection: psycopg.Connection[Any], organization: str | None) -> list[str]:
    if organization is not None:
        return [_find_trail_id(services, organization)]
    return list(upkeep.read_last_sequences(connection))


@commands.command("export")
@trails_option
@click.option("--since", type=parse_time, metavar="TIME", help="Only events at or after this day or time.")
@click.option(
    "--after",
    type=WholeNumber(0),
    metavar="SEQUENCE",
    help="With --organization: only events with a higher sequence number than SEQUENCE.",
)
@click.option(
    "--state",
    "state_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that stores the position of the last exported event. The next export continues at that position.",
)
@flag_option("--follow", "must_follow", "Keep running, and print new events as they occur, until Ctrl-C.")
def export_events(
    organization: str | None, since: datetime | None, after: int | None, state_path: Path | None, must_follow: bool
) -> None:
    """Print events as lines of JSON, oldest first in each trail.

    The output is meant for a SIEM, which then also stores the hash of each event. After a crash, the next export prints
    the events since the last saved state again, so the receiver should ignore events whose eventId it already has.
    """
    if after is not None and (organization is None or state_path is not None):
        raise click.UsageError("--after requires --organization, and cannot be combined with --state")
    with open_services() as services, connect(str(services.settings.database_url)) as connection:
        organization_id = None if organization is None else _find_trail_id(services, organization)
        last_sequences = _read_state(state_path)
        if after is not None:
            last_sequences[str(organization_id)] = after
        # The state is written before the first event, so that an unwritable file ends the export at once.
        _write_state(state_path, last_sequences)
        while True:
            for event in upkeep.read_events_since(
                connection, services.database, last_sequences, utc_now(), only=organization_id
            ):
                if since is None or datetime.fromisoformat(event["at"]) >= since:
                    click.echo(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
            _write_state(state_path, last_sequences)
            if not must_follow:
                return
            time.sleep(POLL_SECONDS)


def _read_state(state_path: Path | None) -> dict[str, int]:
    """Return the last exported event's sequence number by organization ID; empty if there is no state file."""
    if state_path is None or not state_path.exists():
        return {}
    with contextlib.suppress(ValueError, OSError):
        last_sequences = json.loads(state_path.read_text(encoding="utf-8"))
        if isinstance(last_sequences, dict) and all(type(sequence) is int for sequence in last_sequences.values()):
            return last_sequences
    raise ConfigurationError(
        f"{state_path} is not the state file of an export. Remove the file to export all events again"
    )


def _write_state(state_path: Path | None, last_sequences: dict[str, int]) -> None:
    if state_path is None:
        return
    # Renaming replaces the file in one step, so that after a crash the file contains the old or the new state.
    draft_path = state_path.with_name(f"{state_path.name}.new")
    try:
        draft_path.write_text(json.dumps(last_sequences, sort_keys=True) + "\n", encoding="utf-8")
        draft_path.replace(state_path)
    except OSError as error:
        raise ConfigurationError(f"the state {state_path} cannot be written: {error.strerror}") from None


@commands.command("verify")
@trails_option
@click.option(
    "--known",
    "known_event",
    metavar="SEQUENCE:HASH",
    help="With --organization: an earlier event, for example from an export. The trail must still contain the event.",
)
@as_json_option
def verify_trails(organization: str | None, known_event: str | None, as_json: bool) -> None:
    """Verify the audit trails. The exit code is 1 if an event was changed or removed.

    Prints for each trail: organization, number of events, number of events with erased content, sequence number and
    hash of the last event, and either ok or the sequence number of the first wrong event and the reason.
    """
    if known_event is not None and organization is None:
        raise click.UsageError("--known requires --organization")
    known_event_hash = None if known_event is None else _parse_known_event(known_event)
    with open_services() as services:
        with connect(str(services.settings.database_url)) as connection:
            unchained_trail_ids = upkeep.list_organizations_without_chain(connection)
            trail_ids = _list_trail_ids(services, connection, organization)
            if organization is None:
                trail_ids += unchained_trail_ids
        with show_activity(f"Verifying {format_count(len(trail_ids), 'trail')}"):
            verifications = {
                trail_id: upkeep.verify_chain(services.database.of(trail_id, utc_now()), known_event_hash)
                for trail_id in trail_ids
            }
    for trail_id, verification in verifications.items():
        if trail_id in unchained_trail_ids and verification.broken_at is None:
            verifications[trail_id] = MISSING
    show(
        [_describe_verification(trail_id, verification, as_json) for trail_id, verification in verifications.items()],
        as_json,
    )
    if any(verification.broken_at is not None for verification in verifications.values()):
        raise SystemExit(1)


def _describe_verification(organization_id: str, verification: Verification, as_json: bool) -> dict[str, Any]:
    trail_members = {"organizationId": organization_id, "events": verification.events, "erased": verification.erased}
    last_event = verification.last_event._asdict()
    if as_json:
        return trail_members | last_event | {"brokenAt": verification.broken_at, "reason": verification.reason}
    verdict = "ok" if verification.reason is None else f"event {verification.broken_at}: {verification.reason}"
    return trail_members | last_event | {"result": verdict}


def _parse_known_event(known_event: str) -> EventHash:
    sequence, _, event_hash = known_event.partition(":")
    if not (sequence.isascii() and sequence.isdigit() and len(event_hash) == 64):
        raise click.UsageError("--known must be a sequence number, a colon and a hash of 64 hexadecimal digits")
    return EventHash(int(sequence), event_hash.lower())


@commands.command("prune")
@require_confirmation
@click.option(
    "--keep",
    type=WholeNumber(0, MAX_AUDIT_DAYS),
    metavar="DAYS",
    help="Number of days for which events are kept. Default: AGENTIDP_AUDIT_DAYS.",
)
@trails_option
@as_json_option
def prune_events(keep: int | None, organization: str | None, as_json: bool) -> None:
    """Remove events that are older than a number of days. The remaining events can still be verified.

    Prints for each trail from which events were removed: organization, number of removed events, sequence number of the
    last removed event.
    """
    now = utc_now()
    with open_services() as services, connect(str(services.settings.database_url)) as connection:
        days_to_keep = services.settings.audit_days if keep is None else keep
        if keep is None and not days_to_keep:
            raise ConfigurationError("the number of days to keep is missing: give --keep, or set AGENTIDP_AUDIT_DAYS")
        trail_ids = _list_trail_ids(services, connection, organization)
        cutoff = now - timedelta(days=days_to_keep)
        confirm(lambda: _describe_pruning(connection, trail_ids, days_to_keep, cutoff=cutoff, at=now))
        with track_progress(trail_ids, "Pruning") as tracked_trail_ids:
            pruned_trails = [
                upkeep.prune_events(connection, trail_id, cutoff=cutoff, at=utc_now()) for trail_id in tracked_trail_ids
            ]
    member_names = ("organizationId", "events", "lastSequence")
    show(
        [dict(zip(member_names, pruned_trail, strict=True)) for pruned_trail in pruned_trails if pruned_trail], as_json
    )


def _describe_pruning(
    connection: psycopg.Connection[Any], trail_ids: list[str], days_to_keep: int, *, cutoff: datetime, at: datetime
) -> str:
    event_counts = [upkeep.count_prunable(connection, trail_id, cutoff=cutoff, at=at) for trail_id in trail_ids]
    return (
        f"This removes {format_count(sum(event_counts), 'event')} older than {format_count(days_to_keep, 'day')} from "
        f"{format_count(sum(map(bool, event_counts)), 'audit trail')}. Removed events cannot be restored, so export "
        "them first (agentidp audit export)."
    )
