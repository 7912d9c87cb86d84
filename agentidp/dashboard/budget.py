"""``/dashboard/budget``: the form for the organization's monthly token budget."""

from __future__ import annotations

from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.findings.thresholds import BUDGET_NEAR_PERCENT
from agentidp.http.errors import ValidationError
from agentidp.registry.organizations import OrganizationChangeSchema, represent, update_organization

SCOPE = "agents:write"

MEMBERS = forms.members(OrganizationChangeSchema(only=["monthlyTokenBudget"]))

blueprint = pages.new_blueprint("dashboard-budget", __name__)


@blueprint.get("/dashboard/budget")
@session.required_to(SCOPE)
def edit_budget(caller: Caller) -> Response:
    """Show the form with the current budget."""
    [organization] = caller.read("organizations/get_organization")
    return _page(Form(forms.format_values(MEMBERS, represent(organization))))


@blueprint.post("/dashboard/budget")
@session.required_to(SCOPE)
def change_budget(caller: Caller) -> Response:
    """Set the budget, and redirect to the overview, which shows it."""
    sent = forms.read_fields(MEMBERS)
    try:
        change = forms.load(OrganizationChangeSchema(), forms.build_body(MEMBERS, sent))
    except ValidationError as refused:
        return _page(Form(sent, forms.errors(refused, forms.labels(MEMBERS))), refused.status)
    with session.begin_change(caller, SCOPE) as opened:
        update_organization(opened, change)
    return pages.see_other("#budget")


def _page(form: Form, status: int = 200) -> Response:
    return pages.page(
        "budget_form.html", status, here="overview", form=form, members=MEMBERS, near_percent=BUDGET_NEAR_PERCENT
    )
