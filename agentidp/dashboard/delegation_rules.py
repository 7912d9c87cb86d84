"""``/dashboard/delegation-rules``: for whose subjects agents may act, and what they may reach.

Reading needs a session with the scope ``agents:read`` or ``agents:write``. Changing needs ``agents:write``, which the
transaction checks again. A POST from another site's page is refused (:mod:`agentidp.dashboard.cross_origin`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.form_key import SentBefore, creating, new_form_key, remember, sent_before, sent_form_key
from agentidp.dashboard.forms import Form
from agentidp.federation.presets import PEOPLE
from agentidp.federation.rule_checks import checked_for_delegation
from agentidp.http.errors import Conflict, ValidationError
from agentidp.registry.agents import ids_of
from agentidp.registry.delegation_rules import MAX_AGENTS, NewDelegationRuleSchema, add_rule, remove_rule, rule_with

SCOPE, READING = "agents:write", "agents:read"

RESOURCES = forms.members(NewDelegationRuleSchema(only=["resources"]))

MEMBERS = forms.members(NewDelegationRuleSchema(exclude=["resources"]))
"""The fields beside those of the rule of trust, and the scopes by their resource server."""

LISTED = forms.members(NewDelegationRuleSchema(exclude=["name", "agentIds", "resources"]))
"""The members that have no column of their own in the list."""

LABELS = forms.labels([*rule_form.MEMBERS, *MEMBERS]) | {"resources": "What they may reach"}
"""What an error calls the fields."""

blueprint = pages.new_blueprint("dashboard-delegation-rules", __name__)


@blueprint.get("/dashboard/delegation-rules")
@session.required_to(READING, SCOPE)
def delegation_rules(caller: Caller) -> Response:
    """All of them, oldest first."""
    return pages.page(
        "delegation_rules.html", here="delegation", rules=caller.read("delegation/list_rules"), members=LISTED
    )


@blueprint.get("/dashboard/delegation-rules/new")
@session.required_to(SCOPE)
def new_delegation_rule(caller: Caller) -> Response:
    """What the preset asks, or the form of the rule that comes of the answers."""
    return _form(caller, None, new_form_key(caller.at))


@blueprint.post("/dashboard/delegation-rules/new")
@session.required_to(SCOPE)
def create_delegation_rule(caller: Caller) -> Response:
    """Create a rule, and show all."""
    given, key = forms.sent([*rule_form.MEMBERS, *MEMBERS]), sent_form_key()
    given["resources"] = request.form.getlist("resources")
    try:
        trust = rule_form.sent_rule(caller, checked_for_delegation, given)
        new = forms.loaded(NewDelegationRuleSchema(), _body(caller, given) | {"trust": trust})
        with creating(caller, SCOPE, key) as opened:
            rule = add_rule(opened, caller.settings, new)
            remember(opened, key, rule.delegation_rule_id)
    except SentBefore:
        return sent_before("It created the rule.", path="/delegation-rules", label="Delegation rules")
    except (ValidationError, Conflict) as refused:
        return _form(caller, Form(given, forms.errors(refused, LABELS), key.text), key.text, refused.status)
    return pages.see_other("/delegation-rules")


@blueprint.get("/dashboard/delegation-rules/<uuid:delegation_rule_id>/delete")
@session.required_to(SCOPE)
def confirm_deletion(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Say what deleting it ends, and ask for confirmation."""
    rule = rule_with(caller.read("delegation/list_rules"), delegation_rule_id)
    return pages.page("confirm_delegation_rule.html", here="delegation", rule=rule)


@blueprint.post("/dashboard/delegation-rules/<uuid:delegation_rule_id>/delete")
@session.required_to(SCOPE)
def delete_delegation_rule(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Delete it, and show the others."""
    with session.changing(caller, SCOPE) as opened:
        remove_rule(opened, delegation_rule_id)
    return pages.see_other("/delegation-rules")


def _body(caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    """Return what was sent beside the rule of trust, as the API takes it: a box for each scope of a resource server."""
    body = forms.body([*MEMBERS, *RESOURCES], given | {"resources": "\n".join(given["resources"])})
    # The schema refuses more.
    if 0 < len(body["agentIds"]) <= MAX_AGENTS:
        body["agentIds"] = ids_of("agentIds", body["agentIds"], caller.read_together)
    return body


def _form(caller: Caller, form: Form | None, form_key: str, status: int | None = None) -> Response:
    """The form.

    :param form: what was sent; ``None`` before anything was.
    """
    way = rule_form.way(PEOPLE, caller, checked_for_delegation, form.given if form else None)
    if form is None:
        proposed = forms.proposed(MEMBERS) | {"resources": []}
        # Without an audience it is the client_id of the agent that acts.
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
