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
from agentidp.dashboard.form_key import begin_creation, new_form_key, read_form_key, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.dashboard.period import DAY
from agentidp.db.sql import Call
from agentidp.http.errors import Conflict, ValidationError, require_row
from agentidp.registry.markers import MAX_LISTED, NewMarkerSchema, add_marker, remove_marker

SCOPE = "findings:write"

MEMBERS = forms.members(NewMarkerSchema(only=["kind", "note"]))

LABELS = {"startsAt": "The first day", "time": "The time", "endsAt": "The last day"}


@pages.blueprint.route("/dashboard/markers/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_marker(caller: Caller) -> Response:
    """Show the form for a marker on the chosen day, or create the marker and redirect to its month."""
    if request.method != "POST":
        day = parse_date(request.args.get("day", "")) or caller.at.astimezone(UTC).date()
        fields = forms.default_values(MEMBERS) | {"startsAt": day.isoformat(), "time": "", "endsAt": ""}
        return _form(Form(fields, form_key=new_form_key(caller.at)))
    fields, form_key = forms.read_fields(MEMBERS) | forms.read_texts("startsAt", "time", "endsAt"), read_form_key()
    month_path = "/month?month=" + fields["startsAt"][:7] if parse_date(fields["startsAt"]) else "/month"
    try:
        marker_values = forms.load(NewMarkerSchema(), forms.build_body(MEMBERS, fields) | _build_times(fields))
        message, link_label = "The form marked the day.", "The month of the marker"
        with begin_creation(caller, SCOPE, form_key, message=message, path=month_path, label=link_label) as transaction:
            marker_row = add_marker(transaction, **marker_values)
            store_created_id(transaction, form_key, marker_row.marker_id)
    except (ValidationError, Conflict) as error:
        form = Form(fields, forms.errors(error, forms.labels(MEMBERS) | LABELS), form_key.text)
        return _form(form, error.status)
    return pages.see_other(f"{month_path}#changes")


@pages.blueprint.route("/dashboard/markers/<uuid:marker_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_marker(caller: Caller, marker_id: UUID) -> Response:
    """Show the marker and ask for confirmation to delete it, or delete it."""
    if request.method == "POST":
        with session.begin_change(caller, SCOPE) as transaction:
            remove_marker(transaction, marker_id)
        return pages.see_other("#trend")
    [marker_rows] = caller.read_together(Call("markers/list_markers", {"limit": MAX_LISTED}))
    marker_row = require_row([marker_row for marker_row in marker_rows if marker_row.marker_id == marker_id])
    first_day = marker_row.starts_at.astimezone(UTC).date()
    last_day = max(first_day, charts.last_day(marker_row.ends_at.astimezone(UTC)))
    return pages.page("confirm_marker.html", here="overview", marker=marker_row, first_day=first_day, last_day=last_day)


def _build_times(values: dict[str, Any]) -> dict[str, Any]:
    """Return the start and the end of a marker in the form of the API. The entire last day is included."""
    first_day, last_day, time = parse_date(values["startsAt"]), parse_date(values["endsAt"]), values["time"] or "00:00"
    field_errors = {} if first_day else {"startsAt": ["must be a day"]}
    if values["endsAt"] and (last_day is None or (first_day and last_day < first_day)):
        field_errors["endsAt"] = ["must be a day that is not before the first day"]
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", time):
        field_errors["time"] = ["must be a time such as 09:30"]
    if field_errors:
        raise ValidationError(details=field_errors)
    return {"startsAt": f"{first_day}T{time}:00Z", "endsAt": last_day and f"{last_day + DAY}T00:00:00Z"}


def _form(form: Form, status: int = 200) -> Response:
    return pages.page("marker_form.html", status, here="overview", form=form, members=MEMBERS)
