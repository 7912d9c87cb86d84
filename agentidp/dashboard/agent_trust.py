"""Rules of trust of an agent: the form for a new rule, and the page that explains why a token is accepted or not."""

from __future__ import annotations

from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.agent_actions import SCOPE
from agentidp.dashboard.form_key import AlreadySent, begin_creation, read_form, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.federation.presets import WORKLOADS
from agentidp.federation.rule_checks import check_rule
from agentidp.http.errors import require_row
from agentidp.registry.credentials import NewCredentialSchema, add_credential, check_trust, represent

LABEL_FIELDS = forms.members(NewCredentialSchema(only=["label"]))
"""Fields of the form in addition to the fields of the rule of trust."""

LABELS = forms.labels([*rule_form.MEMBERS, *LABEL_FIELDS])


@pages.blueprint.route("/dashboard/agents/<uuid:agent_id>/trust", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_rule(caller: Caller, agent_id: UUID) -> Response:
    """Show the form for a rule of trust, or create the rule and show it with its warnings."""
    if request.method != "POST":
        return _show_form(caller, agent_id)
    form = read_form([*rule_form.MEMBERS, *LABEL_FIELDS])
    repeat_error = AlreadySent("The form created the rule {id}.", f"/agents/{agent_id}", "The page of the agent")
    with form.catch_refusal(LABELS):
        body = rule_form.read_rule(caller, check_rule, form.values) | forms.build_body(LABEL_FIELDS, form.values)
        credential_values = forms.load(NewCredentialSchema(), body | {"type": "federated"})
        rule = check_trust(credential_values["rule"], caller.settings, caller.organization_id)
        with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
            credential, _ = add_credential(
                transaction, agent_id, label=credential_values["label"], rule=rule, expires_at=None
            )
            store_created_id(transaction, form, credential.credential_id)
            [agent] = transaction.fetch("agents/get_agent", agent_id=agent_id)
        needs_client_id = rule["audience"] != rule_form.build_own_audience(caller)
        return pages.page(
            "new_rule.html", here="agents", agent=agent, rule=represent(credential), needs_client_id=needs_client_id
        )
    return _show_form(caller, agent_id, form)


@pages.blueprint.route("/dashboard/agents/<uuid:agent_id>/trust/test", methods=["GET", "POST"])
@session.required_to("agents:read", SCOPE)
def test_agent_token(caller: Caller, agent_id: UUID) -> Response:
    """Compare a token with the agent's rules of trust, claim by claim."""
    return rule_form.test_token(caller, require_row(caller.read("agents/get_agent", agent_id=agent_id)))


def _show_form(caller: Caller, agent_id: UUID, form: Form | None = None) -> Response:
    draft = rule_form.read_draft(WORKLOADS, caller, check_rule, form)
    agent = require_row(caller.read("agents/get_agent", agent_id=agent_id))
    default_values = forms.default_values(LABEL_FIELDS)
    return rule_form.render_form(
        "agent_rule_form.html", caller, draft, form, default_values, here="agents", agent=agent, members=LABEL_FIELDS
    )
