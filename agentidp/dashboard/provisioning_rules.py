"""``/dashboard/provisioning-rules``: the rules that create an agent for its first token, and their common switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, read_form, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.federation.presets import WORKLOADS
from agentidp.federation.rule_checks import check_provisioning_rule
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import parse_number
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import provisioning
from agentidp.registry.organization_rules import MAX_RULES
from agentidp.registry.organizations import update_organization
from agentidp.registry.quotas import MAX_TOKENS
from agentidp.scopes import SCOPES

SCOPE, READING = "agents:write", "agents:read"

NAME = forms.members(provisioning.NewProvisioningRuleSchema(only=["name"]))
LIMITS = forms.members(provisioning.NewProvisioningRuleSchema(exclude=["name"]))
AGENT = forms.members(provisioning.AgentTemplateSchema(only=["name", "owner"]))
AGENT_LIMITS = forms.members(provisioning.AgentTemplateSchema(exclude=["name", "owner", "scopes", "quotas"]))
MEMBERS = [*NAME, *LIMITS, *AGENT, *AGENT_LIMITS]
"""Fields of the form in addition to the rule of trust, the quotas, and the scopes (grouped by API)."""

OWN_SCOPES = {scope: about for scope, about in SCOPES.items() if scope not in provisioning.FORBIDDEN}

LABELS = forms.labels([*rule_form.MEMBERS, *MEMBERS]) | {
    "scopes": "The scopes",
    "agentTemplate": "What agents get",
    **{window: f"The tokens per {window}" for window in WINDOWS},
}
"""The words for each field, or group of fields, in an error message, by the name of the field in the form."""


@pages.blueprint.get("/dashboard/provisioning-rules")
@session.required_to(READING, SCOPE)
def list_provisioning_rules(caller: Caller) -> Response:
    """Show all provisioning rules, oldest first, with the number of their agents."""
    page_queries = Call("provisioning/list_rules", {}), Call("organizations/get_organization", {})
    rule_rows, [organization] = caller.read_together(*page_queries)
    rules = [provisioning.represent(rule_row) for rule_row in rule_rows]
    return pages.page(
        "provisioning_rules.html",
        here="provisioning",
        rules=rules,
        is_on=organization.provisions_agents,
        max_rules=MAX_RULES,
    )


@pages.blueprint.post("/dashboard/provisioning-rules/switch")
@session.required_to(SCOPE)
def switch(caller: Caller) -> Response:
    """Switch the creation of agents by rules on or off."""
    with session.begin_change(caller, SCOPE) as transaction:
        update_organization(transaction, {"provisions_agents": request.form.get("state") == "on"})
    return pages.see_other("/provisioning-rules")


@pages.blueprint.route("/dashboard/provisioning-rules/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_provisioning_rule(caller: Caller) -> Response:
    """Show the form for a provisioning rule, or create the rule and redirect to the list of rules."""
    if request.method != "POST":
        return _show_form(caller)
    form = read_form([*rule_form.MEMBERS, *MEMBERS])
    form.values |= forms.read_texts(*WINDOWS) | {"scopes": request.form.getlist("scopes")}
    repeat_error = AlreadySent("The form created the rule.", "/provisioning-rules", "Automatic registration")
    with form.catch_refusal(LABELS), _rename_error_fields():
        trust = rule_form.read_rule(caller, check_provisioning_rule, form.values)
        rule_values = forms.load(provisioning.NewProvisioningRuleSchema(), _build_body(form.values) | {"trust": trust})
        with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
            rule = provisioning.add_rule(transaction, caller.settings, rule_values)
            store_created_id(transaction, form, rule.provisioning_rule_id)
        return pages.see_other("/provisioning-rules")
    return _show_form(caller, form)


@pages.blueprint.route("/dashboard/provisioning-rules/<uuid:provisioning_rule_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_provisioning_rule(caller: Caller, provisioning_rule_id: UUID) -> Response:
    """Show what deleting a provisioning rule would do and ask for confirmation, or delete it."""
    if request.method == "POST":
        return pages.change_and_redirect(
            caller, SCOPE, "/provisioning-rules", provisioning.remove_rule, provisioning_rule_id
        )
    rule = provisioning.represent(provisioning.find_rule(caller.read("provisioning/list_rules"), provisioning_rule_id))
    agent_count = rule["agents"]
    agents_sentence = (
        "The agent that it created stays" if agent_count == 1 else f"The {agent_count:,} agents that it created stay"
    )
    message = f"The rule will create no more agents. {agents_sentence if agent_count else 'It has created none'}."
    return rule_form.confirm_deletion("provisioning", rule["name"], message)


@pages.blueprint.route("/dashboard/provisioning-rules/test", methods=["GET", "POST"])
@session.required_to(READING)
def test_token(caller: Caller) -> Response:
    """Compare a token with all rules of the organization, claim by claim, and show the result."""
    return rule_form.test_token(caller)


def _build_body(values: dict[str, Any]) -> dict[str, Any]:
    quotas = {window: {"tokens": parse_number(values[window]), "enforce": True} for window in WINDOWS if values[window]}
    agent_template = forms.build_body([*AGENT, *AGENT_LIMITS], values) | {"quotas": quotas, "scopes": values["scopes"]}
    if not agent_template["name"]:
        del agent_template["name"]
    return forms.build_body([*NAME, *LIMITS], values) | {"agentTemplate": agent_template}


@contextlib.contextmanager
def _rename_error_fields() -> Iterator[None]:
    """Rename the fields in an error of the ``with`` block from the API's nested members to the fields of the form."""
    try:
        yield
    except ValidationError as error:
        agent_template_errors = error.details.get("agentTemplate")
        if isinstance(agent_template_errors, dict):
            del error.details["agentTemplate"]
            quota_errors = agent_template_errors.pop("quotas", {})
            if "name" in agent_template_errors:
                agent_template_errors["agentName"] = agent_template_errors.pop("name")
            error.details |= agent_template_errors | quota_errors
        raise


def _show_form(caller: Caller, form: Form | None = None) -> Response:
    draft = rule_form.read_draft(WORKLOADS, caller, check_provisioning_rule, form)
    return rule_form.render_form(
        "provisioning_rule_form.html",
        caller,
        draft,
        form,
        forms.default_values(MEMBERS) | {"scopes": [], "agentName": draft.preset.agent_name},
        here="provisioning",
        windows=WINDOWS,
        rule=NAME,
        agent_members=AGENT,
        limits=[*AGENT_LIMITS, *LIMITS],
        own_scopes=OWN_SCOPES,
        servers=[server_row for server_row in caller.read("oauth/list_resource_servers") if server_row.scopes],
        max_tokens=MAX_TOKENS,
    )
