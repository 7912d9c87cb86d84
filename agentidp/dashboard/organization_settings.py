"""``/dashboard/budget`` and ``/dashboard/agents/dormancy``: the forms for the organization's settings."""

from __future__ import annotations

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.findings.thresholds import BUDGET_NEAR_PERCENT, SUSPENSION_NOTICE_DAYS
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
    """Show the form for the number of days until dormant agents are suspended, or set it and redirect to the agents."""
    return _change_settings(caller, "dormancy_form.html", DORMANCY, "/agents")


def _change_settings(caller: Caller, template: str, members: list[Member], redirect_path: str) -> Response:
    """GET: show the form for the settings. POST: change the settings and redirect, or show a refused form again."""
    form = None
    if request.method == "POST":
        form = Form(forms.read_fields(members))
        with form.catch_refusal(forms.labels(members)):
            settings_change = forms.load(OrganizationChangeSchema(), forms.build_body(members, form.values))
            return pages.change_and_redirect(caller, SCOPE, redirect_path, update_organization, settings_change)
    [organization], [agent_count_row] = caller.read_together(
        Call("organizations/get_organization", {}), Call("agents/count_agents", {})
    )
    form = form or Form(forms.format_values(members, represent(organization)))
    return pages.page(
        template,
        form.status,
        members=members,
        form=form,
        count=agent_count_row.count,
        near_percent=BUDGET_NEAR_PERCENT,
        notice_days=SUSPENSION_NOTICE_DAYS,
    )
