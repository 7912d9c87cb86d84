"""``/dashboard/agents/dormancy``: after how many days without a token an agent is suspended.

It needs a session with the scope ``agents:write``, which the transaction checks again. A POST from another site's page
is refused (:mod:`agentidp.dashboard.cross_origin`).
"""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import WholeNumber
from agentidp.registry.organizations import MAX_DORMANCY, MIN_DORMANCY, update_organization

SCOPE = "agents:write"

FIELDS = {"suspendDormantAfterDays": "The number of days"}
"""What an error calls the field of the form."""

blueprint = pages.new_blueprint("dashboard-dormancy", __name__)


class DormancyFormSchema(ma.Schema):
    """The same as the API's member, but for what a field of text holds: nothing, if no agent is suspended."""

    suspendDormantAfterDays = WholeNumber(
        MIN_DORMANCY, MAX_DORMANCY, attribute="suspend_dormant_after_days", load_default=None
    )


@blueprint.get("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def edit_dormancy(caller: Caller) -> Response:
    """The form with what is set now."""
    return _page(caller)


@blueprint.post("/dashboard/agents/dormancy")
@session.required_to(SCOPE)
def change_dormancy(caller: Caller) -> Response:
    """Set it, and show the agents."""
    sent = forms.text("suspendDormantAfterDays")
    try:
        change = forms.loaded(DormancyFormSchema(), {name: value for name, value in sent.items() if value})
    except ValidationError as refused:
        return _page(caller, Form(sent, forms.errors(refused, FIELDS)), refused.status)
    with session.changing(caller, SCOPE) as opened:
        update_organization(opened, change)
    return pages.see_other("/agents")


def _page(caller: Caller, form: Form | None = None, status: int = 200) -> Response:
    """The form.

    :param form: what is in it; ``None`` for what is set now.
    """
    [organization], [agents] = caller.read_together(
        Call("organizations/get_organization", {}), Call("agents/count_agents", {})
    )
    days = organization.suspend_dormant_after_days
    return pages.page(
        "dormancy_form.html",
        status,
        here="agents",
        form=form or Form({"suspendDormantAfterDays": "" if days is None else days}),
        count=agents.count,
        notice_days=SUSPENSION_NOTICE_DAYS,
        min_days=MIN_DORMANCY,
        max_days=MAX_DORMANCY,
    )
