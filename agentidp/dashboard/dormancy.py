"""``/dashboard/agents/dormancy``: the form for the number of days without a token after which agents are suspended."""

from __future__ import annotations

from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.http.errors import ValidationError
from agentidp.registry.organizations import OrganizationChangeSchema, represent, update_organization

SCOPE = "agents:write"

MEMBERS = forms.members(OrganizationChangeSchema(only=["suspendDormantAfterDays"]))

blueprint = pages.new_blueprint("dashboard-dormancy", __name__)


@blueprint.get("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def edit_dormancy(caller: Caller) -> Response:
    """Show the form with the current number of days."""
    return _page(caller)


@blueprint.post("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def change_dormancy(caller: Caller) -> Response:
    """Set the number of days, and redirect to the agents."""
    sent = forms.read_fields(MEMBERS)
    try:
        change = forms.load(OrganizationChangeSchema(), forms.build_body(MEMBERS, sent))
    except ValidationError as refused:
        return _page(caller, Form(sent, forms.errors(refused, forms.labels(MEMBERS))), refused.status)
    with session.begin_change(caller, SCOPE) as opened:
        update_organization(opened, change)
    return pages.see_other("/agents")


def _page(caller: Caller, form: Form | None = None, status: int = 200) -> Response:
    """Return the page with the form.

    :param form: the content of the form; ``None`` for the current value.
    """
    [organization], [agents] = caller.read_together(
        Call("organizations/get_organization", {}), Call("agents/count_agents", {})
    )
    return pages.page(
        "dormancy_form.html",
        status,
        here="agents",
        form=form or Form(forms.format_values(MEMBERS, represent(organization))),
        members=MEMBERS,
        count=agents.count,
        notice_days=SUSPENSION_NOTICE_DAYS,
    )
