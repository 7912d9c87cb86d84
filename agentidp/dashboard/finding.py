"""``/dashboard/findings/{findingId}``: a finding, its history, and the form to acknowledge and mute it."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import evidence, forms, pages, session
from agentidp.db.sql import Call
from agentidp.findings import actions
from agentidp.findings.identity import FindingChange
from agentidp.findings.listing import read_callers_finding
from agentidp.http.errors import ValidationError

ACTIONS = {"acknowledge": FindingChange.acknowledged, "mute": FindingChange.muted, "unmute": FindingChange.unmuted}
LABELS = forms.labels(forms.members(actions.MuteSchema()))
"""The words for each field in an error message, by the name of the field in the form."""

_BACK = re.compile(r"(/agents/[0-9a-f-]{36}|/findings)?\?[0-9A-Za-z_=&%+.-]{1,500}")
"""Regular expression for the pages with a list of findings, from which the form can be sent."""

SCOPE = "findings:write"


@pages.blueprint.get("/dashboard/findings/<uuid:finding_id>")
@session.required
def show_finding(caller: Caller, finding_id: UUID) -> Response:
    """Show a finding, its evidence and its history."""
    return _render_finding(caller, finding_id)


@pages.blueprint.post("/dashboard/findings/<uuid:finding_id>/<any(acknowledge, mute, unmute):action>")
@session.required_to(SCOPE)
def act_on_finding(caller: Caller, finding_id: UUID, action: str) -> Response:
    """Acknowledge, mute or unmute a finding, and redirect to the page from which the form was sent."""
    action_schema = actions.MuteSchema() if action == "mute" else actions.NoteSchema()
    form_fields = forms.members(action_schema)
    try:
        action_values = forms.load(action_schema, forms.build_body(form_fields, forms.read_fields(form_fields)))
        with session.begin_change(caller, SCOPE) as transaction:
            actions.apply_action(transaction, finding_id, ACTIONS[action], **action_values)
    except ValidationError as error:
        message = " ".join(forms.describe_errors(error, LABELS).values())
        return _render_finding(caller, finding_id, error.status, message=message, form=request.form)
    back_path = request.form.get("back", "")
    return pages.see_other(
        f"{back_path}#finding-{finding_id}" if _BACK.fullmatch(back_path) else f"/findings/{finding_id}"
    )


def _render_finding(caller: Caller, finding_id: UUID, status: int = 200, **context: Any) -> Response:
    finding, at = read_callers_finding(caller, finding_id), caller.at.astimezone(UTC)
    history_rows, *evidence_row_lists = caller.read_together(
        Call("finding_state/finding_history", {"finding_id": finding_id}), *evidence.build_calls(finding, at)
    )
    context |= {
        "finding": finding,
        "history": history_rows,
        "evidence": evidence.build_evidence(finding, at, *evidence_row_lists),
    }
    return pages.page("finding.html", status, here="findings", **context)
