"""The forms for the organization's settings.

``/dashboard/budget``: the monthly token budget. ``/dashboard/agents/dormancy``: the number of days without a token
after which agents are suspended.
"""

from __future__ import annotations

from flask import Response, request

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


@pages.blueprint.route("/dashboard/budget", methods=["GET", "POST"])
@session.required_to(SCOPE)
def budget(caller: Caller) -> Response:
    """Show the form for the organization's budget, or set it and redirect to the page of the month, which shows it."""
    return _change_settings(caller, "budget_form.html", BUDGET, "/month#budget")


@pages.blueprint.route("/dashboard/agents/dormancy", methods=["GET", "POST"])
@session.required_to(SCOPE)
def dormancy(caller: Caller) -> Response:
    """Show the form for the days after which dormant agents are suspended, or set them and redirect to the agents."""
    return _change_settings(caller, "dormancy_form.html", DORMANCY, "/agents")


def _change_settings(caller: Caller, template: str, members: list[Member], path: str) -> Response:
    """Show the form for *members*, or set them and redirect to *path*. A refused form is shown again."""
    form, status = None, 200
    if request.method == "POST":
        typed_values = forms.read_fields(members)
        try:
            change = forms.load(OrganizationChangeSchema(), forms.build_body(members, typed_values))
        except ValidationError as error:
            form, status = Form(typed_values, forms.errors(error, forms.labels(members))), error.status
        else:
            with session.begin_change(caller, SCOPE) as transaction:
                update_organization(transaction, change)
            return pages.see_other(path)
    [organization], [agent_counts] = caller.read_together(
        Call("organizations/get_organization", {}), Call("agents/count_agents", {})
    )
    return pages.page(
        template,
        status,
        members=members,
        form=form or Form(forms.format_values(members, represent(organization))),
        count=agent_counts.count,
        near_percent=BUDGET_NEAR_PERCENT,
        notice_days=SUSPENSION_NOTICE_DAYS,
    )
