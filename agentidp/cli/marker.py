"""``agentidp marker``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from agentidp.cli.confirmation import confirm, require_confirmation
from agentidp.cli.lookup import begin_transaction, open_organization, refuse_missing, replace_agent_names
from agentidp.cli.options import add_member_options, as_json_option, describe_fields, organization_option, read_options
from agentidp.cli.output import show, show_object
from agentidp.db.sql import Rows
from agentidp.http.schemas import timestamp
from agentidp.registry import markers

_MARKER = markers.NewMarkerSchema(exclude=["kind"], partial=["startsAt"])

commands = click.Group(
    "marker",
    help=f"""Markers: deployments and holidays that findings take into account.

    Markers are printed as: {describe_fields(markers.MarkerSchema)}.
    """,
)


@commands.command("create")
@click.argument("kind", type=click.Choice(markers.KINDS))
@organization_option
@add_member_options(_MARKER)
@as_json_option
def create_marker(kind: str, organization: str, as_json: bool, **options: Any) -> None:
    """Mark a deployment or a holiday, and print the marker's id. The marker starts now, or at the time in --from."""
    option_members = read_options(_MARKER, options)
    with open_organization(organization) as (services, database):
        request_body = {"startsAt": timestamp(database.at), "kind": kind} | option_members
        new_marker = markers.NewMarkerSchema().load(replace_agent_names(services, database, _MARKER, request_body))
        with database.transaction() as transaction:
            marker_row = markers.add_marker(transaction, **new_marker)
    show_object(markers.represent(marker_row), as_json, members=["markerId"])


@commands.command("list")
@organization_option
@as_json_option
def list_markers(organization: str, as_json: bool) -> None:
    """List at most 500 markers of an organization. Markers that end last come first."""
    with open_organization(organization) as (_, database):
        marker_rows = database.fetch("markers/list_markers", limit=markers.MAX_LISTED)
    show([markers.represent(marker_row) for marker_row in marker_rows], as_json)


@commands.command("delete")
@require_confirmation
@click.argument("marker_id", type=click.UUID, metavar="ID")
@organization_option
def delete_marker(marker_id: UUID, organization: str) -> None:
    """Delete a marker."""
    with open_organization(organization) as (services, database):
        marker_rows = database.fetch("markers/list_markers", limit=markers.MAX_LISTED)
        confirm(lambda: _describe_marker_deletion(marker_rows, marker_id))
        with (
            refuse_missing(f"the organization has no marker {marker_id}"),
            begin_transaction(services, database) as transaction,
        ):
            markers.remove_marker(transaction, marker_id)


def _describe_marker_deletion(marker_rows: Rows, marker_id: UUID) -> str:
    marker_row = next((marker_row for marker_row in marker_rows if marker_row.marker_id == marker_id), None)
    if marker_row is None:
        return f"This deletes the marker {marker_id}."
    note_suffix = f" ({marker_row.note})" if marker_row.note else ""
    return (
        f"This deletes the marker of a {marker_row.kind}{note_suffix} from {timestamp(marker_row.starts_at)} to "
        f"{timestamp(marker_row.ends_at)}. Findings about the time of the marker no longer take the marker into "
        "account."
    )
