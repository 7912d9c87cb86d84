"""``/dashboard/provisioning-rules``: the rules that create an agent for its first token, and their common switch."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.config import ConfigurationError
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.form_key import (
    SentBefore,
    begin_creation,
    new_form_key,
    read_form_key,
    sent_before,
    store_created_id,
)
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.federation.presets import WORKLOADS
from agentidp.federation.rule_checks import check_provisioning_rule
from agentidp.http.errors import Conflict, ValidationError
from agentidp.http.schemas import number
from agentidp.jose.assertion import MAX_LENGTH
from agentidp.oauth import rule_results
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry.organizations import update_organization
from agentidp.registry.provisioning import (
    FORBIDDEN,
    AgentTemplateSchema,
    NewProvisioningRuleSchema,
    add_rule,
    remove_rule,
    represent,
    rule_with,
)
from agentidp.registry.quotas import MAX_TOKENS
from agentidp.scopes import SCOPES
from agentidp.services import services

SCOPE, READING = "agents:write", "agents:read"

NAME = forms.members(NewProvisioningRuleSchema(only=["name"]))
LIMITS = forms.members(NewProvisioningRuleSchema(exclude=["name"]))
AGENT = forms.members(AgentTemplateSchema(only=["name", "owner"]))
AGENT_LIMITS = forms.members(AgentTemplateSchema(exclude=["name", "owner", "scopes", "quotas"]))
MEMBERS = [*NAME, *LIMITS, *AGENT, *AGENT_LIMITS]
"""Fields in addition to those of the rule of trust, the quotas, and the scopes, which the form groups by API."""

OWN_SCOPES = {scope: about for scope, about in SCOPES.items() if scope not in FORBIDDEN}

LABELS = forms.labels([*rule_form.MEMBERS, *MEMBERS]) | {
    "scopes": "The scopes",
    "agentTemplate": "What agents get",
    **{window: f"The tokens per {window}" for window in WINDOWS},
}
"""Name of a field, or of a group of fields -> its name in error messages."""

blueprint = pages.new_blueprint("dashboard-provisioning-rules", __name__)


@blueprint.get("/dashboard/provisioning-rules")
@session.required_to(READING, SCOPE)
def provisioning_rules(caller: Caller) -> Response:
    """Show all provisioning rules, oldest first, with the number of their agents."""
    calls = Call("provisioning/list_rules", {}), Call("organizations/get_organization", {})
    rows, [organization] = caller.read_together(*calls)
    rules = [represent(row) for row in rows]
    return pages.page("provisioning_rules.html", here="provisioning", rules=rules, is_on=organization.provisions_agents)


@blueprint.post("/dashboard/provisioning-rules/switch")
@session.required_to(SCOPE)
def switch(caller: Caller) -> Response:
    """Switch the creation of agents by rules on or off."""
    with session.begin_change(caller, SCOPE) as transaction:
        update_organization(transaction, {"provisions_agents": request.form.get("state") == "on"})
    return pages.see_other("/provisioning-rules")


@blueprint.get("/dashboard/provisioning-rules/new")
@session.required_to(SCOPE)
def new_provisioning_rule(caller: Caller) -> Response:
    """Show the questions of the platform's preset, or the form with the rule that follows from the answers."""
    return _form(caller, None, new_form_key(caller.at))


@blueprint.post("/dashboard/provisioning-rules/new")
@session.required_to(SCOPE)
def create_provisioning_rule(caller: Caller) -> Response:
    """Create a rule, and redirect to the list of rules."""
    given, key = forms.read_fields([*rule_form.MEMBERS, *MEMBERS]) | forms.read_texts(*WINDOWS), read_form_key()
    given["scopes"] = request.form.getlist("scopes")
    try:
        trust = rule_form.sent_rule(caller, check_provisioning_rule, given)
        new = forms.load(NewProvisioningRuleSchema(), _body(given) | {"trust": trust})
        with begin_creation(caller, SCOPE, key) as transaction:
            rule = add_rule(transaction, caller.settings, new)
            store_created_id(transaction, key, rule.provisioning_rule_id)
    except SentBefore:
        return sent_before("It created the rule.", path="/provisioning-rules", label="Provisioning rules")
    except (ValidationError, Conflict) as refused:
        refused.details = _by_field(refused.details)
        return _form(caller, Form(given, forms.errors(refused, LABELS), key.text), key.text, refused.status)
    return pages.see_other("/provisioning-rules")


@blueprint.get("/dashboard/provisioning-rules/<uuid:provisioning_rule_id>/delete")
@session.required_to(SCOPE)
def confirm_deletion(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Show the consequences of deleting the rule, and ask for confirmation."""
    rule = represent(rule_with(caller.read("provisioning/list_rules"), provisioning_rule_id))
    return pages.page("confirm_provisioning_rule.html", here="provisioning", rule=rule)


@blueprint.post("/dashboard/provisioning-rules/<uuid:provisioning_rule_id>/delete")
@session.required_to(SCOPE)
def delete_provisioning_rule(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Delete the rule, and redirect to the list of rules."""
    with session.begin_change(caller, SCOPE) as transaction:
        remove_rule(transaction, provisioning_rule_id)
    return pages.see_other("/provisioning-rules")


@blueprint.route("/dashboard/provisioning-rules/test", methods=["GET", "POST"])
@session.required_to(READING)
def test_token(caller: Caller) -> Response:
    """Compare a token with all rules of the organization, claim by claim. Nothing is issued or changed."""
    form, results, status = Form({}), None, 200
    if request.method == "POST":
        database = services().database.of(caller.organization_id, caller.at)
        try:
            results = rule_results.compare_token(
                services(), database, forms.read_texts("token")["token"], agent_id=None, at=caller.at
            )
        except ConfigurationError as refused:
            form, status = Form({}, {"token": f"{refused}."}), 400
    return pages.page("token_test.html", status, here="provisioning", form=form, results=results, max_length=MAX_LENGTH)


def _body(given: dict[str, Any]) -> dict[str, Any]:
    """Return the body for the API, without the rule of trust."""
    quotas = {window: {"tokens": number(given[window]), "enforce": True} for window in WINDOWS if given[window]}
    template = forms.build_body([*AGENT, *AGENT_LIMITS], given) | {"quotas": quotas, "scopes": given["scopes"]}
    if not template["name"]:
        del template["name"]
    return forms.build_body([*NAME, *LIMITS], given) | {"agentTemplate": template}


def _by_field(details: dict[str, Any]) -> dict[str, Any]:
    """Return the error details by the names of the form's fields, which are not nested as in the body."""
    template = details.get("agentTemplate")
    if not isinstance(template, dict):
        return details
    quotas: dict[str, Any] = template.get("quotas", {})
    inner = {"agentName" if name == "name" else name: rules for name, rules in template.items() if name != "quotas"}
    return {name: rules for name, rules in details.items() if name != "agentTemplate"} | inner | quotas


def _form(caller: Caller, form: Form | None, form_key: str, status: int | None = None) -> Response:
    """Return the page with the form.

    :param form: the content that was sent; ``None`` before the form is sent.
    """
    way = rule_form.way(WORKLOADS, caller, check_provisioning_rule, form.values if form else None)
    servers = caller.read("oauth/list_resource_servers")
    if form is None:
        proposed = forms.default_values(MEMBERS) | {"scopes": [], "agentName": way.preset.agent_name}
        form = Form(way.proposed(caller) | proposed, form_key=form_key)
    return pages.page(
        "provisioning_rule_form.html",
        status or way.status,
        here="provisioning",
        way=way,
        form=form,
        windows=WINDOWS,
        trust=rule_form.MEMBERS,
        rule=NAME,
        agent=AGENT,
        limits=[*AGENT_LIMITS, *LIMITS],
        own_scopes=OWN_SCOPES,
        servers=[server for server in servers if server.scopes],
        max_tokens=MAX_TOKENS,
    )
