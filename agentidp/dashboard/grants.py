"""``/dashboard/grants``: what people let agents do, by agent and by delegation rule."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.db.sql import Call
from agentidp.http.errors import require_row
from agentidp.oauth.grants import end_grant
from agentidp.registry.delegation_rules import find_rule
from agentidp.registry.grants import MAX_PAGE, build_list_call, end_agent_grants, end_rule_grants

SCOPE, READING = "agents:write", "agents:read"
TO_AGENT = "/dashboard/agents/<uuid:agent_id>/grants"
BY_RULE = "/dashboard/delegation-rules/<uuid:delegation_rule_id>/grants"


@pages.blueprint.get("/dashboard/grants")
@pages.blueprint.get(TO_AGENT)
@pages.blueprint.get(BY_RULE)
@session.required_to(READING, SCOPE)
def list_grants(caller: Caller, agent_id: UUID | None = None, delegation_rule_id: UUID | None = None) -> Response:
    """Show the newest grants of people, or only the grants to an agent or by a delegation rule."""
    return _show_grants(caller, "grants.html", agent_id, delegation_rule_id)


@pages.blueprint.route(f"{TO_AGENT}/end", methods=["GET", "POST"])
@pages.blueprint.route(f"{BY_RULE}/end", methods=["GET", "POST"])
@session.required_to(SCOPE)
def end_grants(caller: Caller, agent_id: UUID | None = None, delegation_rule_id: UUID | None = None) -> Response:
    """Ask for confirmation to end all grants to an agent or by a delegation rule, or end them."""
    if request.method != "POST":
        return _show_grants(caller, "confirm_grants.html", agent_id, delegation_rule_id)
    with session.begin_change(caller, SCOPE) as transaction:
        if agent_id is not None:
            end_agent_grants(transaction, agent_id)
        elif delegation_rule_id is not None:
            end_rule_grants(transaction, delegation_rule_id)
    return pages.see_other("/grants")


@pages.blueprint.route("/dashboard/grants/<uuid:grant_id>/end", methods=["GET", "POST"])
@session.required_to(SCOPE)
def end_one_grant(caller: Caller, grant_id: UUID) -> Response:
    """Ask for confirmation to end a grant, or end it."""
    if request.method == "POST":
        return pages.change_and_redirect(caller, SCOPE, "/grants", end_grant, grant_id)
    [grant_rows] = caller.read_together(build_list_call(grant_id=grant_id))
    require_row(grant_rows)
    return pages.page("confirm_grants.html", here="delegation", grants=grant_rows)


def _show_grants(caller: Caller, template: str, agent_id: UUID | None = None, rule_id: UUID | None = None) -> Response:
    grant_rows, rules, agent_rows = caller.read_together(
        build_list_call(agent_id, rule_id, limit=MAX_PAGE + 1),
        Call("delegation/list_rules", {}),
        Call("agents/get_agent", {"agent_id": agent_id}),
    )
    context: dict[str, Any] = {"path": "/grants"}
    if agent_id is not None:
        context = {"path": f"/agents/{agent_id}/grants", "name": require_row(agent_rows).name}
    elif rule_id is not None:
        context = {"path": f"/delegation-rules/{rule_id}/grants", "name": find_rule(rules, rule_id).name}
    has_more_grants = len(grant_rows) > MAX_PAGE
    return pages.page(template, here="delegation", grants=grant_rows[:MAX_PAGE], has_more=has_more_grants, **context)
