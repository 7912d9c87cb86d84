"""``agentidp audit``."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from agentidp import audit
from agentidp.audit import upkeep, words
from agentidp.audit.reading import list_call, represented
from agentidp.audit.verification import MISSING, Head, Verification
from agentidp.cli.confirmation import asks_first, confirm, count
from agentidp.cli.context import opened
from agentidp.cli.named import organization_named
from agentidp.cli.options import WholeNumber, as_json_option, moment
from agentidp.cli.output import is_terminal, show
from agentidp.cli.progress import progress_over, saying
from agentidp.clock import utc_now
from agentidp.config import MAX_AUDIT_DAYS, ConfigurationError
from agentidp.db.database import connect
from agentidp.registry import organizations
from agentidp.services import Services

POLL_SECONDS = 2.0
"""Seconds between two checks for further events."""

organization_option = click.option(
    "--organization", metavar="ID|NAME", help="The organization's id (org-…), or its name. Default: the instance."
)
one_organization_option = click.option(
    "--organization",
    metavar="ID|NAME",
    help="Only this organization's. Default: all, and the instance's.",
)


@click.group("audit")
def commands() -> None:
    """The audit trail: who changed what.

    Each organization has an audit trail. Changes of the signing keys are in the instance's audit trail.
    """


@commands.command("list")
@organization_option
@click.option("--actor", help="By this agent's id, or by this user of the operating system.")
@click.option(
    "--action", type=click.Choice(sorted(audit.ACTIONS)), metavar="ACTION", help="agent.created, for example."
)
@click.option("--subject", help="About what has this id.")
@click.option("--since", type=moment, metavar="TIME", help="Not before this day or time.")
@click.option("--until", type=moment, metavar="TIME", help="Before this day or time.")
@click.option("--limit", type=WholeNumber(1, 100_000), default=100, show_default=True, help="At most so many.")
@as_json_option
def list_(organization: str | None, as_json: bool, **filters: Any) -> None:
    """List events, newest first.

    Prints: sequence, time, kind of actor, actor, action, subject, values before the change, values after the change. On
    a terminal, each event is a sentence.
    """
    with opened() as services:
        trail = audit.INSTANCE if organization is None else _trail(services, organization)
        database = services.database.of(trail, utc_now())
        [rows] = database.run(list_call(below=None, **filters))
        found = represented(rows)
        known = words.names(*database.run(*words.calls(found)))
    names = ("sequence", "at", "actorType", "actor", "action", "subject", "before", "after")
    if not as_json:
        found = [
            {name: _cell(event[name]) for name in names}
            | ({"event": words.sentence(event, known)} if is_terminal() else {})
            for event in found
        ]
    show(found, as_json, columns=("sequence", "at", "event", "after"))


def _trail(services: Services, organization: str) -> str:
    """Return the ID of an existing or deleted organization, because deleted organizations keep their trail."""
    if organizations.is_id(organization):
        return organization
    return str(organization_named(services, organization).organization_id)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


@commands.command("export")
@one_organization_option
@click.option("--since", type=moment, metavar="TIME", help="Not before this day or time.")
@click.option(
    "--after", "after", type=WholeNumber(0), metavar="SEQUENCE", help="With --organization: those after this event."
)
@click.option(
    "--state",
    "state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that remembers what was exported, so that the next run continues there.",
)
@click.option("--follow", is_flag=True, help="Wait for further events, until Ctrl-C.")
def export(organization: str | None, since: Any, after: int | None, state: Path | None, follow: bool) -> None:
    """Print events as lines of JSON, oldest first in each trail.

    The output is meant for a SIEM, which then also stores the hash of each event. After a crash, events since the last
    saved state are printed again, so the receiver should ignore an eventId that it already has.
    """
    if after is not None and (organization is None or state is not None):
        raise click.UsageError("give --after with --organization and without --state")
    with opened() as services, connect(str(services.settings.database_url)) as operator:
        organization_id = None if organization is None else _trail(services, organization)
        positions = _read_state(state)
        if after is not None:
            positions[str(organization_id)] = after
        if state is not None:
            # A state file that cannot be written fails here, before any event is printed.
            _write_state(state, positions)
        while True:
            found = upkeep.events_since(operator, services.database, positions, utc_now(), only=organization_id)
            for event in found:
                if since is None or datetime.fromisoformat(event["at"]) >= since:
                    click.echo(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
            if state is not None:
                _write_state(state, positions)
            if not follow:
                return
            time.sleep(POLL_SECONDS)


def _read_state(state: Path | None) -> dict[str, int]:
    if state is None or not state.exists():
        return {}
    with contextlib.suppress(ValueError, OSError):
        read = json.loads(state.read_text(encoding="utf-8"))
        if isinstance(read, dict) and all(type(value) is int for value in read.values()):
            return read
    raise ConfigurationError(f"{state} is not the state of an export: remove it to export everything again")


def _write_state(state: Path, positions: dict[str, int]) -> None:
    # The file is replaced atomically, so that a crash keeps the earlier state.
    new = state.with_name(f"{state.name}.new")
    try:
        new.write_text(json.dumps(positions, sort_keys=True) + "\n", encoding="utf-8")
        new.replace(state)
    except OSError as error:
        raise ConfigurationError(f"the state {state} cannot be written: {error.strerror}") from None


@commands.command("verify")
@one_organization_option
@click.option(
    "--known",
    "known",
    metavar="SEQUENCE:HASH",
    help="With --organization: an event that was noted elsewhere, for example by an export. It must be in the trail.",
)
@as_json_option
def verify(organization: str | None, known: str | None, as_json: bool) -> None:
    """Verify that no event was changed or removed. Exit code 1 if one was.

    Prints for each trail: organization, number of events, number of events with erased content, sequence and hash of
    the last event, and either ok or the sequence of the first wrong event and the reason.
    """
    if known is not None and organization is None:
        raise click.UsageError("give --known with --organization")
    noted = None if known is None else _head(known)
    with opened() as services:
        with connect(str(services.settings.database_url)) as operator:
            unchained = upkeep.unchained(operator)
            names = [*upkeep.chains(operator), *unchained] if organization is None else [_trail(services, organization)]
        with saying(f"Verifying {count(len(names), 'trail')}"):
            results = {name: upkeep.verify_chain(services.database.of(name, utc_now()), noted) for name in names}
    for name, result in results.items():
        if name in unchained and result.broken_at is None:
            results[name] = MISSING
    show([_result(name, result, as_json) for name, result in results.items()], as_json)
    if any(result.broken_at is not None for result in results.values()):
        raise SystemExit(1)


def _result(organization_id: str, result: Verification, as_json: bool) -> dict[str, Any]:
    counts = {"organizationId": organization_id, "events": result.events, "erased": result.erased}
    last = {"sequence": result.head.sequence, "hash": result.head.hash}
    if as_json:
        return counts | last | {"brokenAt": result.broken_at, "reason": result.reason}
    return counts | last | {"result": "ok" if result.reason is None else f"event {result.broken_at}: {result.reason}"}


def _head(text: str) -> Head:
    sequence, _, hash_ = text.partition(":")
    if not (sequence.isascii() and sequence.isdigit() and len(hash_) == 64):
        raise click.UsageError("--known must be a sequence, a colon and a hash of 64 hexadecimal digits")
    return Head(int(sequence), hash_.lower())


@commands.command("prune")
@asks_first
@click.option(
    "--keep",
    type=WholeNumber(0, MAX_AUDIT_DAYS),
    metavar="DAYS",
    help="Days of events that are kept. Default: AGENTIDP_AUDIT_DAYS.",
)
@one_organization_option
@as_json_option
def prune(keep: int | None, organization: str | None, as_json: bool) -> None:
    """Remove events that are older than a number of days. The remaining events can still be verified.

    Prints for each trail from which events were removed: organization, number of removed events, sequence of the last.
    """
    at = utc_now()
    with opened() as services, connect(str(services.settings.database_url)) as operator:
        days = services.settings.audit_days if keep is None else keep
        if keep is None and not days:
            raise ConfigurationError("say how many days to keep: with --keep, or in AGENTIDP_AUDIT_DAYS")
        names = list(upkeep.chains(operator)) if organization is None else [_trail(services, organization)]
        cutoff = at - timedelta(days=days)

        def consequences() -> str:
            counts = [upkeep.prunable(operator, name, cutoff=cutoff, at=at) for name in names]
            return (
                f"This removes {count(sum(counts), 'event')} older than {count(days, 'day')} from "
                f"{count(sum(map(bool, counts)), 'audit trail')}. This cannot be undone: export them first "
                "(agentidp audit export)."
            )

        confirm(consequences)
        with progress_over(names, "Pruning") as shown:
            pruned = [done for name in shown if (done := upkeep.prune(operator, name, cutoff=cutoff, at=utc_now()))]
    keys = ("organizationId", "events", "lastSequence")
    show([dict(zip(keys, one, strict=True)) for one in pruned], as_json)
