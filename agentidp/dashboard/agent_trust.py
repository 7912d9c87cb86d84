"""Rules of trust of an agent: the form that makes one, and the page that says why a token is accepted or not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.config import ConfigurationError
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.agent_actions import SCOPE
from agentidp.dashboard.form_key import SentBefore, creating, new_form_key, remember, sent_before, sent_form_key
from agentidp.dashboard.forms import Form
from agentidp.federation.rule_checks import MAX_URL, MAX_VALUE, RuleRefused
from agentidp.federation.rule_text import claims_of, jwk_set_of
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.oauth import rule_results
from agentidp.oauth.client_assertion import MAX_LENGTH
from agentidp.registry.credentials import MAX_LABEL, NewCredentialSchema, add_credential, represent, trusted
from agentidp.services import services

FIELDS = {
    "label": "The label",
    "issuer": "The issuer",
    "subject": "The subject",
    "claims": "A claim",
    "audience": "The audience",
    "jwks": "The keys of the issuer",
    "jwksUri": "The address of the keys",
}
"""What an error calls the fields of the form of a rule."""

LIMITS = {"url": MAX_URL, "value": MAX_VALUE, "label": MAX_LABEL}

blueprint = pages.new_blueprint("dashboard-agent-trust", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>/trust")
@session.required_to(SCOPE)
def new_rule(caller: Caller, agent_id: UUID) -> Response:
    """The form of a rule of trust."""
    return _rule_form(caller, agent_id, Form({}, form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/agents/<uuid:agent_id>/trust")
@session.required_to(SCOPE)
def make_rule(caller: Caller, agent_id: UUID) -> Response:
    """Make a rule of trust, and show it with its warnings."""
    key, given = sent_form_key(), forms.text(*FIELDS)
    try:
        body: dict[str, Any] = {name: value for name, value in given.items() if value} | {"type": "federated"}
        if given["claims"]:
            body["claims"] = claims_of(filter(None, map(str.strip, given["claims"].splitlines())))
        if given["jwks"]:
            body["jwks"] = jwk_set_of(given["jwks"])
        new = forms.loaded(NewCredentialSchema(), body)
        rule = trusted(new["rule"], caller.settings, caller.organization_id)
        with creating(caller, SCOPE, key) as opened:
            credential, _ = add_credential(opened, agent_id, label=new["label"], rule=rule, expires_at=None)
            remember(opened, key, credential.credential_id)
            [agent] = opened.fetch("agents/get_agent", agent_id=agent_id)
    except SentBefore as before:
        message = f"It made the rule of trust {before.created_id}."
        return sent_before(message, path=f"/agents/{agent_id}", label="The page of the agent")
    except RuleRefused as refused:
        form = Form(given, {refused.member: f"{FIELDS[refused.member]} {refused}."}, key.text)
        return _rule_form(caller, agent_id, form, 400)
    except (ValidationError, Conflict) as refused:
        form = Form(given, forms.errors(refused, FIELDS), key.text)
        return _rule_form(caller, agent_id, form, refused.status)
    return pages.page("new_rule.html", here="agents", agent=agent, rule=represent(credential))


@blueprint.route("/dashboard/agents/<uuid:agent_id>/trust/test", methods=["GET", "POST"])
@session.required_to("agents:read")
def test_token(caller: Caller, agent_id: UUID) -> Response:
    """Compare a token with the agent's rules of trust, claim by claim. Nothing is issued or changed."""
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    form, results, status = Form({}), None, 200
    if request.method == "POST":
        database = services().database.of(caller.organization_id, caller.at)
        try:
            results = rule_results.examine(
                services(), database, forms.text("token")["token"], agent_id=agent_id, at=caller.at
            )
        except ConfigurationError as refused:
            form, status = Form({}, {"token": f"{refused}."}), 400
    return pages.page(
        "token_test.html", status, here="agents", agent=agent, form=form, results=results, max_length=MAX_LENGTH
    )


def _rule_form(caller: Caller, agent_id: UUID, form: Form, status: int = 200) -> Response:
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    own = caller.settings.issuer
    return pages.page("rule_form.html", status, here="agents", form=form, agent=agent, limits=LIMITS, own_issuer=own)
