"""``/dashboard/provisioning-rules``: the rules that create agents at first sight, and the switch of all of them.

Reading needs a session with the scope ``agents:read`` or ``agents:write``. Changing needs ``agents:write``, which the
transaction checks again. A POST from another site's page is refused (:mod:`agentidp.dashboard.cross_origin`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.config import ConfigurationError
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.agent_trust import LIMITS
from agentidp.dashboard.form_key import SentBefore, creating, new_form_key, remember, sent_before, sent_form_key
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.federation.agent_name import MAX_NAME_TEMPLATE
from agentidp.federation.rule_checks import RuleRefused
from agentidp.federation.rule_text import claims_of, jwk_set_of
from agentidp.http.errors import Conflict, ValidationError
from agentidp.oauth import rule_results
from agentidp.oauth.client_assertion import MAX_LENGTH
from agentidp.oauth.quotas import WINDOWS
from agentidp.registry.organizations import update_organization
from agentidp.registry.provisioning import (
    AgentTemplateSchema,
    NewProvisioningRuleSchema,
    add_rule,
    remove_rule,
    represent,
    rule_with,
)
from agentidp.registry.quotas import MAX_TOKENS
from agentidp.services import services

SCOPE, READING = "agents:write", "agents:read"

TRUST = ("issuer", "subject", "claims", "audience", "jwksUri", "jwks")
"""The fields of the rule of trust."""

FIELDS = {
    "name": "The name",
    "trust": "The rule of trust: its",
    "agentTemplate": "What agents get",
    "maxAgents": "The maximum of agents",
    "claims": "A claim",
    "jwks": "The keys of the issuer",
}
"""What an error calls the fields, or the groups of fields, of the form."""

RULE = forms.members(NewProvisioningRuleSchema(only=["maxAgents"]))
TEMPLATE = forms.members(AgentTemplateSchema(exclude=["name", "quotas"]))

blueprint = pages.new_blueprint("dashboard-provisioning-rules", __name__)


@blueprint.get("/dashboard/provisioning-rules")
@session.required_to(READING, SCOPE)
def provisioning_rules(caller: Caller) -> Response:
    """All of them, oldest first, with the number of their agents."""
    calls = Call("provisioning/list_rules", {}), Call("organizations/get_organization", {})
    rows, [organization] = caller.read_together(*calls)
    rules = [represent(row) for row in rows]
    return pages.page("provisioning_rules.html", here="provisioning", rules=rules, is_on=organization.provisions_agents)


@blueprint.post("/dashboard/provisioning-rules/switch")
@session.required_to(SCOPE)
def switch(caller: Caller) -> Response:
    """Let the rules create agents, or not."""
    with session.changing(caller, SCOPE) as opened:
        update_organization(opened, {"provisions_agents": request.form.get("state") == "on"})
    return pages.see_other("/provisioning-rules")


@blueprint.get("/dashboard/provisioning-rules/new")
@session.required_to(SCOPE)
def new_provisioning_rule(caller: Caller) -> Response:
    """The form of a new rule."""
    proposed = forms.proposed([*RULE, *TEMPLATE]) | {"agentName": "{sub}"}
    return _form(caller, Form(proposed, form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/provisioning-rules/new")
@session.required_to(SCOPE)
def create_provisioning_rule(caller: Caller) -> Response:
    """Create a rule, and show all."""
    given, key = forms.text("name", "agentName", *TRUST, *WINDOWS), sent_form_key()
    given |= forms.sent([*RULE, *TEMPLATE])
    try:
        new = forms.loaded(NewProvisioningRuleSchema(), _body(given))
        with creating(caller, SCOPE, key) as opened:
            rule = add_rule(opened, caller.settings, new)
            remember(opened, key, rule.provisioning_rule_id)
    except SentBefore:
        return sent_before("It created the rule.", path="/provisioning-rules", label="Provisioning rules")
    except (ValidationError, Conflict) as refused:
        return _form(caller, Form(given, forms.errors(refused, FIELDS), key.text), refused.status)
    return pages.see_other("/provisioning-rules")


@blueprint.get("/dashboard/provisioning-rules/<uuid:provisioning_rule_id>/delete")
@session.required_to(SCOPE)
def confirm_deletion(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Say what deleting it ends, and ask for confirmation."""
    rule = represent(rule_with(caller.read("provisioning/list_rules"), provisioning_rule_id))
    return pages.page("confirm_provisioning_rule.html", here="provisioning", rule=rule)


@blueprint.post("/dashboard/provisioning-rules/<uuid:provisioning_rule_id>/delete")
@session.required_to(SCOPE)
def delete_provisioning_rule(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Delete it, and show the others."""
    with session.changing(caller, SCOPE) as opened:
        remove_rule(opened, provisioning_rule_id)
    return pages.see_other("/provisioning-rules")


@blueprint.route("/dashboard/provisioning-rules/test", methods=["GET", "POST"])
@session.required_to(READING)
def test_token(caller: Caller) -> Response:
    """Compare a token with all rules of the organization, claim by claim. Nothing is issued or changed."""
    form, results, status = Form({}), None, 200
    if request.method == "POST":
        database = services().database.of(caller.organization_id, caller.at)
        try:
            results = rule_results.examine(
                services(), database, forms.text("token")["token"], agent_id=None, at=caller.at
            )
        except ConfigurationError as refused:
            form, status = Form({}, {"token": f"{refused}."}), 400
    return pages.page("token_test.html", status, here="provisioning", form=form, results=results, max_length=MAX_LENGTH)


def _body(given: dict[str, str]) -> dict[str, Any]:
    """What was sent, as the API has it.

    :raises ValidationError: a claim, the keys or a number are not written as they must be.
    """
    trust: dict[str, Any] = {name: given[name] for name in TRUST if given[name]}
    try:
        if "claims" in trust:
            trust["claims"] = claims_of(filter(None, map(str.strip, trust["claims"].splitlines())))
        if "jwks" in trust:
            trust["jwks"] = jwk_set_of(trust["jwks"])
    except RuleRefused as refused:
        raise ValidationError(details={refused.member: [str(refused)]}) from None
    quotas = {window: {"tokens": forms.number(given[window]), "enforce": True} for window in WINDOWS if given[window]}
    template = forms.body(TEMPLATE, given) | {"quotas": quotas}
    template |= {"name": given["agentName"]} if given["agentName"] else {}
    return {"name": given["name"], "trust": trust, "agentTemplate": template} | forms.body(RULE, given)


def _form(caller: Caller, form: Form, status: int = 200) -> Response:
    return pages.page(
        "provisioning_rule_form.html",
        status,
        here="provisioning",
        form=form,
        limits=LIMITS,
        own_audience=f"{caller.settings.issuer}/{caller.organization_id}",
        windows=WINDOWS,
        max_template=MAX_NAME_TEMPLATE,
        rule=RULE,
        members=TEMPLATE,
        max_tokens=MAX_TOKENS,
    )
