"""``/dashboard/delegation-rules``: on behalf of which subjects agents may act, and which APIs they may reach."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
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
from agentidp.federation.presets import PEOPLE
from agentidp.federation.rule_checks import check_delegation_rule
from agentidp.http.errors import Conflict, ValidationError
from agentidp.registry.agents import ids_of
from agentidp.registry.delegation_rules import MAX_AGENTS, NewDelegationRuleSchema, add_rule, remove_rule, rule_with

SCOPE, READING = "agents:write", "agents:read"

RESOURCES = forms.members(NewDelegationRuleSchema(only=["resources"]))

MEMBERS = forms.members(NewDelegationRuleSchema(exclude=["resources"]))
"""Fields in addition to those of the rule of trust. The form groups the scopes by resource server."""

LISTED = forms.members(NewDelegationRuleSchema(exclude=["name", "agentIds", "resources"]))
"""Members without a column of their own in the list."""

LABELS = forms.labels([*rule_form.MEMBERS, *MEMBERS]) | {"resources": "What they may reach"}
"""Name of a field -> its name in error messages."""

blueprint = pages.new_blueprint("dashboard-delegation-rules", __name__)


@blueprint.get("/dashboard/delegation-rules")
@session.required_to(READING, SCOPE)
def delegation_rules(caller: Caller) -> Response:
    """Show all delegation rules, oldest first."""
    return pages.page(
        "delegation_rules.html", here="delegation", rules=caller.read("delegation/list_rules"), members=LISTED
    )


@blueprint.get("/dashboard/delegation-rules/new")
@session.required_to(SCOPE)
def new_delegation_rule(caller: Caller) -> Response:
    """Show the questions of the preset, or the form with the rule that follows from the answers."""
    return _form(caller, None, new_form_key(caller.at))


@blueprint.post("/dashboard/delegation-rules/new")
@session.required_to(SCOPE)
def create_delegation_rule(caller: Caller) -> Response:
    """Create a rule, and redirect to the list of rules."""
    given, key = forms.read_fields([*rule_form.MEMBERS, *MEMBERS]), read_form_key()
    given["resources"] = request.form.getlist("resources")
    try:
        trust = rule_form.sent_rule(caller, check_delegation_rule, given)
        new = forms.load(NewDelegationRuleSchema(), _body(caller, given) | {"trust": trust})
        with begin_creation(caller, SCOPE, key) as transaction:
            rule = add_rule(transaction, caller.settings, new)
            store_created_id(transaction, key, rule.delegation_rule_id)
    except SentBefore:
        return sent_before("It created the rule.", path="/delegation-rules", label="Delegation rules")
    except (ValidationError, Conflict) as refused:
        return _form(caller, Form(given, forms.errors(refused, LABELS), key.text), key.text, refused.status)
    return pages.see_other("/delegation-rules")


@blueprint.get("/dashboard/delegation-rules/<uuid:delegation_rule_id>/delete")
@session.required_to(SCOPE)
def confirm_deletion(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Show the consequences of deleting the rule, and ask for confirmation."""
    rule = rule_with(caller.read("delegation/list_rules"), delegation_rule_id)
    return pages.page("confirm_delegation_rule.html", here="delegation", rule=rule)


@blueprint.post("/dashboard/delegation-rules/<uuid:delegation_rule_id>/delete")
@session.required_to(SCOPE)
def delete_delegation_rule(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Delete the rule, and redirect to the list of rules."""
    with session.begin_change(caller, SCOPE) as transaction:
        remove_rule(transaction, delegation_rule_id)
    return pages.see_other("/delegation-rules")


def _body(caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    """Return the body for the API, without the rule of trust. Each check_rule box is one line of ``resources``."""
    body = forms.build_body([*MEMBERS, *RESOURCES], given | {"resources": "\n".join(given["resources"])})
    # The schema refuses any other number of agents, so do not look them up.
    if 0 < len(body["agentIds"]) <= MAX_AGENTS:
        body["agentIds"] = ids_of("agentIds", body["agentIds"], caller.read_together)
    return body


def _form(caller: Caller, form: Form | None, form_key: str, status: int | None = None) -> Response:
    """Return the page with the form.

    :param form: the content that was sent; ``None`` before the form is sent.
    """
    way = rule_form.way(PEOPLE, caller, check_delegation_rule, form.values if form else None)
    if form is None:
        proposed = forms.default_values(MEMBERS) | {"resources": []}
        # An empty audience means the client_id of the acting agent.
        form = Form(way.proposed(caller) | ({} if way.rule else {"audience": ""}) | proposed, form_key=form_key)
    return pages.page(
        "delegation_rule_form.html",
        status or way.status,
        here="delegation",
        way=way,
        form=form,
        trust=rule_form.MEMBERS,
        members=MEMBERS,
        servers=[server for server in caller.read("oauth/list_resource_servers") if server.scopes],
    )
