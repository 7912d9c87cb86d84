"""``/dashboard/markers``: the form that marks a deployment or a holiday, and the page that deletes a marker."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics.period import parse_date
from agentidp.caller import Caller
from agentidp.dashboard import charts, forms, pages, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, open_form, store_created_id
from agentidp.dashboard.period import DAY
from agentidp.db.sql import Call
from agentidp.http.errors import ValidationError, require_row
from agentidp.registry.markers import MAX_LISTED, NewMarkerSchema, add_marker, remove_marker

SCOPE = "findings:write"

MEMBERS = forms.members(NewMarkerSchema(only=["kind", "note"]))

LABELS = forms.labels(MEMBERS) | {"startsAt": "The first day", "time": "The time", "endsAt": "The last day"}


@pages.blueprint.route("/dashboard/markers/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_marker(caller: Caller) -> Response:
    """Show the form for a marker on the chosen day, or create the marker and redirect to its month."""
    form = open_form(caller, MEMBERS)
    if request.method == "POST":
        form.values |= forms.read_texts("startsAt", "time", "endsAt")
        first_day = parse_date(form.values["startsAt"])
        month_path = f"/month?month={first_day.isoformat()[:7]}" if first_day else "/month"
        repeat_error = AlreadySent("The form marked the day.", month_path, "The month of the marker")
        with form.catch_refusal(LABELS):
            request_body = forms.build_body(MEMBERS, form.values) | _build_marker_times(form.values)
            marker_values = forms.load(NewMarkerSchema(), request_body)
            with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
                marker = add_marker(transaction, **marker_values)
                store_created_id(transaction, form, marker.marker_id)
            return pages.see_other(f"{month_path}#changes")
    else:
        day = parse_date(request.args.get("day", "")) or caller.at.astimezone(UTC).date()
        form.values |= {"startsAt": day.isoformat(), "time": "", "endsAt": ""}
    return pages.page("marker_form.html", form.status, here="overview", form=form, members=MEMBERS)


@pages.blueprint.route("/dashboard/markers/<uuid:marker_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_marker(caller: Caller, marker_id: UUID) -> Response:
    """Show the marker and ask for confirmation to delete it, or delete it."""
    if request.method == "POST":
        return pages.change_and_redirect(caller, SCOPE, "#trend", remove_marker, marker_id)
    [marker_rows] = caller.read_together(Call("markers/list_markers", {"limit": MAX_LISTED}))
    marker_row = require_row([marker_row for marker_row in marker_rows if marker_row.marker_id == marker_id])
    first_day = marker_row.starts_at.astimezone(UTC).date()
    last_day = max(first_day, charts.last_day(marker_row.ends_at.astimezone(UTC)))
    return pages.page("confirm_marker.html", here="overview", marker=marker_row, first_day=first_day, last_day=last_day)


def _build_marker_times(values: dict[str, Any]) -> dict[str, Any]:
    """Return the API's ``startsAt`` and ``endsAt`` for a marker. The marker includes the entire last day."""
    first_day, last_day, time = parse_date(values["startsAt"]), parse_date(values["endsAt"]), values["time"] or "00:00"
    field_errors = {} if first_day else {"startsAt": ["must be a day"]}
    if values["endsAt"] and (last_day is None or (first_day and last_day < first_day)):
        field_errors["endsAt"] = ["must be a day that is not before the first day"]
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", time):
        field_errors["time"] = ["must be a time such as 09:30"]
    if field_errors:
        raise ValidationError(details=field_errors)
    return {"startsAt": f"{first_day}T{time}:00Z", "endsAt": last_day and f"{last_day + DAY}T00:00:00Z"}
