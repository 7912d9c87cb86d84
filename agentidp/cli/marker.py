"""``agentidp marker``."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from agentidp.cli.confirmation import asks_first, confirm
from agentidp.cli.context import opened
from agentidp.cli.named import agent_named, organization_named
from agentidp.cli.options import as_json_option, moment, organization_option
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.sql import Rows
from agentidp.http.errors import NotFound
from agentidp.http.schemas import timestamp
from agentidp.registry import markers


@click.group("marker")
def commands() -> None:
    """Markers: deployments and holidays that findings know of.

    Markers are printed as: id, kind, start, end, agent, note, time of creation.
    """


@commands.command("create")
@click.argument("kind", type=click.Choice(markers.KINDS))
@organization_option
@click.option("--from", "starts_at", metavar="TIME", help="Its start: a UTC day, or a date and time. Default: now.")
@click.option("--to", "ends_at", metavar="TIME", help="Its end. Default: the same, and of a holiday 24 hours later.")
@click.option("--agent", metavar="ID|NAME", help="The agent that is deployed. Default: all.")
@click.option("--note", help="What the findings say of it, for example a version.")
@as_json_option
def create(
    kind: str,
    organization: str,
    starts_at: str | None,
    ends_at: str | None,
    agent: str | None,
    note: str | None,
    as_json: bool,
) -> None:
    """Mark a deployment or a holiday, and print the marker's id."""
    now = utc_now()
    given = {
        "kind": kind,
        "startsAt": _instant(starts_at) or timestamp(now),
        "endsAt": _instant(ends_at),
        "note": note,
    }
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        if agent is not None:
            given["agentId"] = str(agent_named(services, agent, organization_id=organization_id).agent_id)
        new = markers.NewMarkerSchema().load(given)
        with services.database.of(organization_id, now).transaction() as transaction:
            row = markers.add_marker(transaction, **new)
    body = markers.represent(row)
    show([body if as_json else {"markerId": body["markerId"]}], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List an organization's markers that ended last, the latest first."""
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        database = services.database.of(organization_id, utc_now())
        rows = database.fetch("markers/list_markers", limit=markers.MAX_LISTED)
    show([markers.represent(row) for row in rows], as_json)


@commands.command("delete")
@asks_first
@click.argument("marker_id", type=click.UUID, metavar="ID")
@organization_option
def delete(marker_id: UUID, organization: str) -> None:
    """Delete the marker ID."""
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        database = services.database.of(organization_id, utc_now())
        confirm(lambda: _consequences(database.fetch("markers/list_markers", limit=markers.MAX_LISTED), marker_id))
        try:
            with services.database.of(organization_id, utc_now()).transaction() as transaction:
                markers.remove_marker(transaction, marker_id)
        except NotFound:
            raise ConfigurationError(f"the organization has no marker {marker_id}") from None


def _consequences(rows: Rows, marker_id: UUID) -> str:
    found = [row for row in rows if row.marker_id == marker_id]
    if not found:
        return f"This deletes the marker {marker_id}."
    [row] = found
    note = f" ({row.note})" if row.note else ""
    return (
        f"This deletes the marker of a {row.kind}{note} from {timestamp(row.starts_at)} to {timestamp(row.ends_at)}. "
        "Findings of that time no longer take it into account."
    )


def _instant(text: str | None) -> str | None:
    at: datetime | None = None if text is None else moment(text)
    return timestamp(at)
