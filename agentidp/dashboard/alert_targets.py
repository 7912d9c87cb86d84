"""``/dashboard/alert-targets``: the targets of the organization's alerts, and the latest deliveries."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.alerts.target_fields import AlertTargetChangeSchema, NewAlertTargetSchema
from agentidp.alerts.targets import TEST_INTERVAL, add_target, remove_target, request_test, update_target
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, open_form, store_created_id
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import require_row

SCOPE = "alerts:write"

MAX_DELIVERIES = 20
"""Maximum number of alerts that the page lists below the targets."""

LATE = timedelta(minutes=1)
"""Age of an unsent alert above which the page says that ``agentidp watch`` is late. Sending usually takes seconds."""

MEMBERS = forms.members(NewAlertTargetSchema(exclude=("enabled",)))
"""Fields of the form for a new alert target."""

FILTERS = forms.members(AlertTargetChangeSchema(exclude=("name", "url", "enabled")))
"""Members of an alert target that decide which alerts the target gets."""


@pages.blueprint.get("/dashboard/alert-targets")
@session.required_to(SCOPE)
def list_alert_targets(caller: Caller) -> Response:
    """Show the alert targets, failing targets first, and the latest alerts."""
    targets, delivery_rows = caller.read_together(
        Call("alerts/list_targets", {}), Call("alerts/list_deliveries", {"limit": MAX_DELIVERIES})
    )
    return pages.page(
        "alert_targets.html",
        here="alerts",
        # Failing targets come first. The sort is stable, so failing and other targets stay ordered, oldest first.
        targets=sorted(targets, key=lambda target: target.failing_since is None),
        members=FILTERS,
        deliveries=[(delivery_row, _is_not_sent(delivery_row, targets, caller.at)) for delivery_row in delivery_rows],
        tested=next((target for target in targets if str(target.target_id) == request.args.get("tested")), None),
    )


def _is_not_sent(delivery: Any, targets: Rows, at: datetime) -> bool:
    """Return whether a delivery to an enabled, working target has waited over :data:`LATE` for its first attempt."""
    is_overdue = not delivery.attempts and delivery.abandoned_at is None and delivery.created_at < at - LATE
    ready_target_ids = {target.target_id for target in targets if target.enabled and target.failing_since is None}
    return is_overdue and delivery.target_id in ready_target_ids


@pages.blueprint.route("/dashboard/alert-targets/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_alert_target(caller: Caller) -> Response:
    """Show the form for a new alert target, or create the target and show a webhook's key for the only time."""
    form = open_form(caller, MEMBERS)
    if request.method == "POST":
        repeat_error = AlreadySent(
            "The form added the target. The key of a webhook was shown only once. If you did not copy it, delete the "
            "target and add it again.",
            "/alert-targets",
            "All targets",
        )
        with form.catch_refusal(forms.labels(MEMBERS)):
            target_values = forms.load(NewAlertTargetSchema(), forms.build_body(MEMBERS, form.values))
            with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
                target, signing_secret = add_target(transaction, caller.settings, target_values)
                store_created_id(transaction, form, target.target_id)
            if signing_secret is None:
                return pages.see_other("/alert-targets")
            return pages.page("new_alert_target.html", here="alerts", target=target, secret=signing_secret)
    return pages.page("alert_target_form.html", form.status, here="alerts", form=form, members=MEMBERS)


@pages.blueprint.route(
    "/dashboard/alert-targets/<uuid:target_id>/<any(test, disable, enable, delete):action>", methods=["GET", "POST"]
)
@session.required_to(SCOPE)
def act(caller: Caller, target_id: UUID, action: str) -> Response:
    """Show what an action on an alert target would do and ask for confirmation, or do it."""
    if request.method == "POST":
        with session.begin_change(caller, SCOPE) as transaction:
            if action == "test":
                request_test(transaction, target_id)
            elif action == "delete":
                remove_target(transaction, target_id)
            else:
                update_target(transaction, caller.settings, target_id, {"enabled": action == "enable"})
        return pages.see_other(f"/alert-targets?tested={target_id}" if action == "test" else "/alert-targets")
    return pages.page(
        "confirm_alert_target.html",
        here="alerts",
        action=action,
        target=require_row(caller.read("alerts/get_target", target_id=target_id)),
        members=FILTERS,
        seconds=int(TEST_INTERVAL.total_seconds()),
    )
