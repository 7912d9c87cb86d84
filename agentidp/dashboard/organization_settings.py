"""The forms for the organization's settings.

``/dashboard/budget``: the monthly token budget. ``/dashboard/agents/dormancy``: the number of days without a token
after which agents are suspended.
"""

from __future__ import annotations

from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.findings.thresholds import BUDGET_NEAR_PERCENT, SUSPENSION_NOTICE_DAYS
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import Member
from agentidp.registry.organizations import OrganizationChangeSchema, represent, update_organization

SCOPE = "agents:write"

BUDGET = forms.members(OrganizationChangeSchema(only=["monthlyTokenBudget"]))
DORMANCY = forms.members(OrganizationChangeSchema(only=["suspendDormantAfterDays"]))

blueprint = pages.new_blueprint("dashboard-organization-settings", __name__)


@blueprint.get("/dashboard/budget")
@session.required_to(SCOPE)
def edit_budget(caller: Caller) -> Response:
    """Show the form with the current budget."""
    return _page(caller, "budget_form.html", BUDGET)


@blueprint.post("/dashboard/budget")
@session.required_to(SCOPE)
def change_budget(caller: Caller) -> Response:
    """Set the budget, and redirect to the overview, which shows it."""
    return _change(caller, "budget_form.html", BUDGET, "#budget")


@blueprint.get("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def edit_dormancy(caller: Caller) -> Response:
    """Show the form with the current number of days."""
    return _page(caller, "dormancy_form.html", DORMANCY)


@blueprint.post("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def change_dormancy(caller: Caller) -> Response:
    """Set the number of days, and redirect to the agents."""
    return _change(caller, "dormancy_form.html", DORMANCY, "/agents")


def _change(caller: Caller, template: str, members: list[Member], path: str) -> Response:
    """Set *members* to the values of the form, and redirect to *path*. A refused form is shown again."""
    typed = forms.read_fields(members)
    try:
        change = forms.load(OrganizationChangeSchema(), forms.build_body(members, typed))
    except ValidationError as error:
        form = Form(typed, forms.errors(error, forms.labels(members)))
        return _page(caller, template, members, form, error.status)
    with session.begin_change(caller, SCOPE) as transaction:
        update_organization(transaction, change)
    return pages.see_other(path)


def _page(
    caller: Caller, template: str, members: list[Member], form: Form | None = None, status: int = 200
) -> Response:
    [organization], [agents] = caller.read_together(
        Call("organizations/get_organization", {}), Call("agents/count_agents", {})
    )
    return pages.page(
        template,
        status,
        members=members,
        form=form or Form(forms.format_values(members, represent(organization))),
        count=agents.count,
        near_percent=BUDGET_NEAR_PERCENT,
        notice_days=SUSPENSION_NOTICE_DAYS,
    )
