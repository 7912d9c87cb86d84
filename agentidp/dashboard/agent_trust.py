"""Rules of trust of an agent: the form for a new rule, and the page that explains why a token is accepted or not."""

from __future__ import annotations

from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.config import ConfigurationError
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.agent_actions import SCOPE
from agentidp.dashboard.form_key import (
    SentBefore,
    begin_creation,
    new_form_key,
    read_form_key,
    sent_before,
    store_created_id,
)
from agentidp.dashboard.forms import Form
from agentidp.federation.presets import WORKLOADS
from agentidp.federation.rule_checks import check_rule
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.jose.assertion import MAX_LENGTH
from agentidp.oauth import rule_results
from agentidp.registry.credentials import NewCredentialSchema, add_credential, represent, trusted
from agentidp.services import services

LABEL = forms.members(NewCredentialSchema(only=["label"]))
"""Fields of the form in addition to those of the rule."""

LABELS = forms.labels([*rule_form.MEMBERS, *LABEL])

blueprint = pages.new_blueprint("dashboard-agent-trust", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/trust")
@session.required_to(SCOPE)
def new_rule(caller: Caller, agent_id: UUID) -> Response:
    """Show the questions of the platform's preset, or the form with the rule that follows from the answers."""
    return _rule_form(caller, agent_id, None, new_form_key(caller.at))


@blueprint.post("/dashboard/agents/<uuid:agent_id>/trust")
@session.required_to(SCOPE)
def make_rule(caller: Caller, agent_id: UUID) -> Response:
    """Create a rule of trust, and show the rule with its warnings."""
    key, given = read_form_key(), forms.read_fields([*rule_form.MEMBERS, *LABEL])
    try:
        body = rule_form.sent_rule(caller, check_rule, given) | forms.build_body(LABEL, given) | {"type": "federated"}
        new = forms.load(NewCredentialSchema(), body)
        rule = trusted(new["rule"], caller.settings, caller.organization_id)
        with begin_creation(caller, SCOPE, key) as transaction:
            credential, _ = add_credential(transaction, agent_id, label=new["label"], rule=rule, expires_at=None)
            store_created_id(transaction, key, credential.credential_id)
            [agent] = transaction.fetch("agents/get_agent", agent_id=agent_id)
    except SentBefore as before:
        message = f"It made the rule of trust {before.created_id}."
        return sent_before(message, path=f"/agents/{agent_id}", label="The page of the agent")
    except (ValidationError, Conflict) as refused:
        form = Form(given, forms.errors(refused, LABELS), key.text)
        return _rule_form(caller, agent_id, form, key.text, refused.status)
    is_alone = rule["audience"] == rule_form.own_audience(caller)
    return pages.page("new_rule.html", here="agents", agent=agent, rule=represent(credential), is_alone=is_alone)


@blueprint.route("/dashboard/agents/<uuid:agent_id>/trust/test", methods=["GET", "POST"])
@session.required_to("agents:read", SCOPE)
def test_token(caller: Caller, agent_id: UUID) -> Response:
    """Compare a token with the agent's rules of trust, claim by claim. Nothing is issued or changed."""
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    form, results, status = Form({}), None, 200
    if request.method == "POST":
        database = services().database.of(caller.organization_id, caller.at)
        try:
            results = rule_results.compare_token(
                services(), database, forms.read_texts("token")["token"], agent_id=agent_id, at=caller.at
            )
        except ConfigurationError as refused:
            form, status = Form({}, {"token": f"{refused}."}), 400
    return pages.page(
        "token_test.html", status, here="agents", agent=agent, form=form, results=results, max_length=MAX_LENGTH
    )


def _rule_form(caller: Caller, agent_id: UUID, form: Form | None, form_key: str, status: int | None = None) -> Response:
    """Return the page with the form.

    :param form: the content that was sent; ``None`` before the form is sent.
    """
    way = rule_form.way(WORKLOADS, caller, check_rule, form.values if form else None)
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    form = form or Form(way.proposed(caller) | forms.default_values(LABEL), form_key=form_key)
    return pages.page(
        "rule_form.html",
        status or way.status,
        here="agents",
        way=way,
        form=form,
        agent=agent,
        trust=rule_form.MEMBERS,
        members=LABEL,
    )
