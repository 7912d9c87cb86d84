"""``/dashboard/agents/new`` and ``/dashboard/agents/{agentId}/edit``: the forms of an agent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, open_form, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.http.errors import require_row
from agentidp.registry.agents import NewAgentSchema, add_agent, represent, update_agent
from agentidp.scopes import DEFAULT_SCOPES, SCOPES

SCOPE = "agents:write"

MEMBERS = forms.members(NewAgentSchema(exclude=("scopes",)))
"""Fields of the form for an agent, except the scopes, which the form groups by API."""

LABELS = forms.labels(forms.members(NewAgentSchema()))


@pages.blueprint.route("/dashboard/agents/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_agent(caller: Caller) -> Response:
    """Show the form for a new agent, or create the agent and redirect to the agent's page."""
    form = open_form(caller, MEMBERS)
    form.values["scopes"] = DEFAULT_SCOPES
    if request.method == "POST":
        form.values["scopes"] = request.form.getlist("scopes")
        repeat_error = AlreadySent("The form created the agent.", "/agents/{id}", "The page of the agent")
        with form.catch_refusal(LABELS):
            agent_values = _load_agent(form)
            with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
                agent = add_agent(transaction, **agent_values, max_agents=caller.settings.max_agents)
                store_created_id(transaction, form, agent.agent_id)
            return pages.see_other(f"/agents/{agent.agent_id}")
    return _show_form(caller, form)


@pages.blueprint.route("/dashboard/agents/<uuid:agent_id>/edit", methods=["GET", "POST"])
@session.required_to(SCOPE)
def edit_agent(caller: Caller, agent_id: UUID) -> Response:
    """Show the form with the agent's current values, or change the agent and redirect to the agent's page."""
    form = None
    if request.method == "POST":
        form = Form(forms.read_fields(MEMBERS) | {"scopes": request.form.getlist("scopes")})
        with form.catch_refusal(LABELS):
            agent_values = _load_agent(form)
            return pages.change_and_redirect(caller, SCOPE, f"/agents/{agent_id}", update_agent, agent_id, agent_values)
    return _show_form(caller, form, agent_id)


def _load_agent(form: Form) -> dict[str, Any]:
    """Return the agent's members. The schema of a new agent applies to changes too, because forms send all members."""
    return forms.load(NewAgentSchema(), forms.build_body(MEMBERS, form.values) | {"scopes": form.values["scopes"]})


def _show_form(caller: Caller, form: Form | None, agent_id: UUID | None = None) -> Response:
    """Return the page with *form* or, if it is ``None``, with the agent's values. A new agent has no *agent_id*."""
    agent_queries = [Call("agents/get_agent", {"agent_id": agent_id})] if agent_id else []
    servers, *agent_rows = caller.read_together(Call("oauth/list_resource_servers", {}), *agent_queries)
    agent = require_row(agent_rows[0]) if agent_rows else None
    if form is None and agent is not None:
        form = Form(forms.format_values(MEMBERS, represent(agent)) | {"scopes": agent.scopes})
    registered_scopes = {*SCOPES, *(scope for server in servers for scope in server.scopes)}
    return pages.page(
        "agent_form.html",
        form.status if form else 200,
        here="agents",
        form=form,
        agent=agent,
        own_scopes=SCOPES,
        servers=[server for server in servers if server.scopes],
        unregistered=[scope for scope in (agent.scopes if agent else ()) if scope not in registered_scopes],
        is_own=agent_id is not None and agent_id == caller.agent_id,
        members=MEMBERS,
    )
