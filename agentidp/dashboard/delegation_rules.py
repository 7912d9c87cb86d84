"""``/dashboard/delegation-rules``: on behalf of which subjects agents may act, and which APIs they may reach."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics.attribution import build_delegations_call
from agentidp.analytics.impact import build_count_grants_call, describe_ended_grants
from agentidp.analytics.period import Period
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, rule_form, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, read_form, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call, Rows
from agentidp.federation.presets import PEOPLE
from agentidp.federation.rule_checks import check_delegation_rule
from agentidp.http.schemas import MAX_DAYS
from agentidp.http.text import format_count
from agentidp.registry.agents import resolve_agent_ids
from agentidp.registry.delegation_rules import MAX_AGENTS, NewDelegationRuleSchema, add_rule, find_rule, remove_rule
from agentidp.registry.organization_rules import MAX_RULES

SCOPE, READING = "agents:write", "agents:read"

RESOURCES = forms.members(NewDelegationRuleSchema(only=["resources"]))

MEMBERS = forms.members(NewDelegationRuleSchema(exclude=["resources"]))
"""Fields of the form in addition to the rule of trust and to ``resources``, which has a check box per scope."""

DETAILS = forms.members(NewDelegationRuleSchema(exclude=["name", "agentIds", "clientHosts", "resources"]))
"""Members of a delegation rule that have no column of their own in the list."""

LABELS = forms.labels([*rule_form.MEMBERS, *MEMBERS]) | {"resources": "What they may reach"}
"""The words for each field in an error message, by the name of the field in the form."""


@pages.blueprint.get("/dashboard/delegation-rules")
@session.required_to(READING, SCOPE)
def list_delegation_rules(caller: Caller) -> Response:
    """Show all delegation rules, oldest first."""
    period = Period.of(MAX_DAYS, caller.at)
    rules, delegation_rows = caller.read_together(
        Call("delegation/list_rules", {}), build_delegations_call(period, None)
    )
    agent_ids = list({agent_id for rule in rules for agent_id in rule.agent_ids})
    names_by_id = {agent.agent_id: agent.name for agent in caller.read("audit/agent_names", agent_ids=agent_ids)}
    return pages.page(
        "delegation_rules.html",
        here="delegation",
        rules=[(rule, _find_last_use(rule, delegation_rows, period.first)) for rule in rules],
        names_by_id=names_by_id,
        members=DETAILS,
        max_rules=MAX_RULES,
    )


def _find_last_use(rule: Any, delegation_rows: Rows, first_day: date) -> date | None:
    """Return the last day on which an agent of a rule got a token that the rule allows, or ``None`` if no agent did.

    Tokens are counted by agent, issuer and resource. Two rules that allow the same token both count as used.
    """
    rule_resources = [resource_access["resource"] for resource_access in rule.resources]
    use_days = [
        first_day + timedelta(days=delegation_row.days[-1])
        for delegation_row in delegation_rows
        if delegation_row.issuer == rule.trust["issuer"] and delegation_row.resource in rule_resources
        # A rule with client_hosts also admits apps on these hosts. Any agent may be such an app, so all agents count.
        if delegation_row.agent_id in rule.agent_ids or rule.client_hosts
    ]
    return max(use_days, default=None)


@pages.blueprint.route("/dashboard/delegation-rules/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_delegation_rule(caller: Caller) -> Response:
    """Show the form for a delegation rule, or create the rule and redirect to the list of rules."""
    if request.method != "POST":
        return _show_form(caller)
    form = read_form([*rule_form.MEMBERS, *MEMBERS])
    form.values["resources"] = request.form.getlist("resources")
    repeat_error = AlreadySent("The form created the rule.", "/delegation-rules", "Delegation rules")
    with form.catch_refusal(LABELS):
        trust = rule_form.read_rule(caller, check_delegation_rule, form.values)
        rule_values = forms.load(NewDelegationRuleSchema(), _build_body(caller, form.values) | {"trust": trust})
        with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
            rule = add_rule(transaction, caller.settings, rule_values)
            store_created_id(transaction, form, rule.delegation_rule_id)
        return pages.see_other("/delegation-rules")
    return _show_form(caller, form)


@pages.blueprint.route("/dashboard/delegation-rules/<uuid:delegation_rule_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_delegation_rule(caller: Caller, delegation_rule_id: UUID) -> Response:
    """Show what deleting a delegation rule would do and ask for confirmation, or delete it."""
    if request.method == "POST":
        return pages.change_and_redirect(caller, SCOPE, "/delegation-rules", remove_rule, delegation_rule_id)
    rules, [grant_count_row] = caller.read_together(
        Call("delegation/list_rules", {}), build_count_grants_call(rule_id=delegation_rule_id)
    )
    rule = find_rule(rules, delegation_rule_id)
    client_hosts_phrase = f" and the apps of {', '.join(rule.client_hosts)}" if rule.client_hosts else ""
    message = (
        f"{format_count(len(rule.agents), 'agent')}{client_hosts_phrase} can act by this rule. After you delete the "
        "rule, no token is issued under it, and APIs that check each token by introspection refuse tokens that were "
        "issued under it."
    )
    if grant_count_row.grants:
        message += f" {describe_ended_grants(grant_count_row.grants)}"
    return rule_form.confirm_deletion("delegation", rule.name, message)


def _build_body(caller: Caller, values: dict[str, Any]) -> dict[str, Any]:
    """Return the API's request body without the rule of trust. Each checked box becomes a line of ``resources``."""
    body = forms.build_body([*MEMBERS, *RESOURCES], values | {"resources": "\n".join(values["resources"])})
    # The agents are looked up only if their number is valid. Otherwise, the schema refuses the body later.
    if 0 < len(body["agentIds"]) <= MAX_AGENTS:
        body["agentIds"] = resolve_agent_ids("agentIds", body["agentIds"], caller.read_together)
    return body


def _show_form(caller: Caller, form: Form | None = None) -> Response:
    draft = rule_form.read_draft(PEOPLE, caller, check_delegation_rule, form)
    # An empty audience field means that the audience must be the client_id of the acting agent.
    audience_values = {} if draft.rule else {"audience": ""}
    return rule_form.render_form(
        "delegation_rule_form.html",
        caller,
        draft,
        form,
        audience_values | forms.default_values(MEMBERS) | {"resources": []},
        here="delegation",
        members=MEMBERS,
        servers=[server_row for server_row in caller.read("oauth/list_resource_servers") if server_row.scopes],
    )
