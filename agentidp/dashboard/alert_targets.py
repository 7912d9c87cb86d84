"""``/dashboard/alert-targets``: the targets of the organization's alerts, and the latest deliveries."""

from __future__ import annotations

from uuid import UUID

from flask import Response, request

from agentidp.alerts.target_fields import AlertTargetChangeSchema, NewAlertTargetSchema
from agentidp.alerts.targets import TEST_INTERVAL, add_target, remove_target, request_test, update_target
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.agents import requested_page
from agentidp.dashboard.form_key import (
    SentBefore,
    begin_creation,
    new_form_key,
    read_form_key,
    sent_before,
    store_created_id,
)
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.http.errors import Conflict, NotFound, ValidationError, existing

SCOPE = "alerts:write"

PAGE_SIZE = 50
"""Maximum number of targets on a page: as many as an organization can have now."""

LATEST = 20
"""Maximum number of alerts listed below the targets."""

MEMBERS = forms.members(NewAlertTargetSchema(exclude=("enabled",)))
"""Fields of the form for a new target."""

LISTED = forms.members(AlertTargetChangeSchema(exclude=("name", "url", "enabled")))
"""Members that select which alerts a target gets."""

blueprint = pages.new_blueprint("dashboard-alert-targets", __name__)


@blueprint.get("/dashboard/alert-targets")
@session.required_to(SCOPE)
def alert_targets(caller: Caller) -> Response:
    """Show the targets, failing ones first, and the latest alerts."""
    number = requested_page()
    targets, deliveries = caller.read_together(
        Call("alerts/list_targets", {}), Call("alerts/list_deliveries", {"limit": LATEST})
    )
    # The sort is stable, so within each group the oldest target stays first.
    ordered = sorted(targets, key=lambda row: row.failing_since is None)
    shown = ordered[PAGE_SIZE * (number - 1) : PAGE_SIZE * number]
    if not shown and number != 1:
        raise NotFound
    return pages.page(
        "alert_targets.html",
        here="alerts",
        targets=shown,
        members=LISTED,
        count=len(targets),
        deliveries=deliveries,
        number=number,
        pages=max(1, -(-len(targets) // PAGE_SIZE)),
        tested=next((row for row in targets if str(row.target_id) == request.args.get("tested")), None),
    )


@blueprint.get("/dashboard/alert-targets/new")
@session.required_to(SCOPE)
def new_alert_target(caller: Caller) -> Response:
    """Show the form for a new target."""
    return _form(Form(forms.default_values(MEMBERS), form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/alert-targets/new")
@session.required_to(SCOPE)
def create_alert_target(caller: Caller) -> Response:
    """Create a target, and show the key of a webhook for the only time."""
    sent, key = forms.read_fields(MEMBERS), read_form_key()
    try:
        new = forms.load(NewAlertTargetSchema(), forms.build_body(MEMBERS, sent))
        with begin_creation(caller, SCOPE, key) as transaction:
            row, secret = add_target(transaction, caller.settings, new)
            store_created_id(transaction, key, row.target_id)
    except SentBefore:
        return sent_before(
            "It added the target. The key of a webhook was shown that one time. If you did not copy it, delete the "
            "target and add it again.",
            path="/alert-targets",
            label="All targets",
        )
    except (ValidationError, Conflict) as refused:
        return _form(Form(sent, forms.errors(refused, forms.labels(MEMBERS)), key.text), refused.status)
    if secret is None:
        return pages.see_other("/alert-targets")
    return pages.page("new_alert_target.html", here="alerts", target=row, secret=secret)


@blueprint.get("/dashboard/alert-targets/<uuid:target_id>/<any(test, disable, enable, delete):action>")
@session.required_to(SCOPE)
def confirm(caller: Caller, target_id: UUID, action: str) -> Response:
    """Show the consequences of the action, and ask for confirmation."""
    row = existing(caller.read("alerts/get_target", target_id=target_id))
    return pages.page(
        "confirm_alert_target.html",
        here="alerts",
        action=action,
        target=row,
        members=LISTED,
        seconds=int(TEST_INTERVAL.total_seconds()),
    )


@blueprint.post("/dashboard/alert-targets/<uuid:target_id>/test")
@session.required_to(SCOPE)
def test_target(caller: Caller, target_id: UUID) -> Response:
    """Put a test alert into the outbox, and redirect to the targets."""
    with session.begin_change(caller, SCOPE) as transaction:
        request_test(transaction, target_id)
    return pages.see_other(f"/alert-targets?tested={target_id}")


@blueprint.post("/dashboard/alert-targets/<uuid:target_id>/<any(disable, enable, delete):action>")
@session.required_to(SCOPE)
def change_target(caller: Caller, target_id: UUID, action: str) -> Response:
    """Disable, enable or delete the target."""
    with session.begin_change(caller, SCOPE) as transaction:
        if action == "delete":
            remove_target(transaction, target_id)
        else:
            update_target(transaction, caller.settings, target_id, {"enabled": action == "enable"})
    return pages.see_other("/alert-targets")


def _form(form: Form, status: int = 200) -> Response:
    return pages.page("alert_target_form.html", status, here="alerts", form=form, members=MEMBERS)
