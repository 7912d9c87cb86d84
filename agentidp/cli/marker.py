"""``agentidp marker``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from agentidp.cli.confirmation import asks_first, confirm
from agentidp.cli.context import opened
from agentidp.cli.named import organization_named, with_agent_ids
from agentidp.cli.options import as_json_option, given, member_options, organization_option, printed
from agentidp.cli.output import show
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError
from agentidp.db.sql import Rows
from agentidp.http.errors import NotFound
from agentidp.http.schemas import timestamp
from agentidp.registry import markers

_MARKER = markers.NewMarkerSchema(exclude=["kind"], partial=["startsAt"])


@click.group(
    "marker",
    help=f"""Markers: deployments and holidays that findings take into account.

    Markers are printed as: {printed(markers.MarkerSchema)}.
    """,
)
def commands() -> None:
    """All commands about markers."""


@commands.command("create")
@click.argument("kind", type=click.Choice(markers.KINDS))
@organization_option
@member_options(_MARKER)
@as_json_option
def create(kind: str, organization: str, as_json: bool, **options: Any) -> None:
    """Mark a deployment or a holiday, and print the marker's id. It starts now, unless --from says when."""
    now = utc_now()
    body = {"startsAt": timestamp(now)} | given(_MARKER, options) | {"kind": kind}
    with opened() as services:
        organization_id = organization_named(services, organization).organization_id
        new = markers.NewMarkerSchema().load(with_agent_ids(services, organization_id, _MARKER, body))
        with services.database.of(organization_id, now).transaction() as transaction:
            row = markers.add_marker(transaction, **new)
    body = markers.represent(row)
    show([body if as_json else {"markerId": body["markerId"]}], as_json, one=True)


@commands.command("list")
@organization_option
@as_json_option
def list_(organization: str, as_json: bool) -> None:
    """List an organization's latest markers, the marker that ended last first."""
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
    row = next((row for row in rows if row.marker_id == marker_id), None)
    if row is None:
        return f"This deletes the marker {marker_id}."
    note = f" ({row.note})" if row.note else ""
    return (
        f"This deletes the marker of a {row.kind}{note} from {timestamp(row.starts_at)} to {timestamp(row.ends_at)}. "
        "Findings of that time no longer take it into account."
    )
