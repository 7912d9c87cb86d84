"""``/dashboard/agents/new`` and ``/dashboard/agents/{agentId}/edit``: the forms of an agent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import begin_creation, new_form_key, read_form_key, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.http.errors import Conflict, ValidationError, require_row
from agentidp.registry.agents import NewAgentSchema, add_agent, represent, update_agent
from agentidp.scopes import DEFAULT_SCOPES, SCOPES

SCOPE = "agents:write"

MEMBERS = forms.members(NewAgentSchema(exclude=("scopes",)))
"""Fields of the form for an agent, except the scopes, which the form groups by API."""

LABELS = forms.labels(forms.members(NewAgentSchema()))

NEW = forms.default_values(MEMBERS) | {"scopes": DEFAULT_SCOPES}
"""Values of the form for a new agent."""


@pages.blueprint.route("/dashboard/agents/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_agent(caller: Caller) -> Response:
    """Show the form for a new agent, or create the agent and redirect to the agent's page."""
    if request.method != "POST":
        return _show_form(caller, Form(NEW, form_key=new_form_key(caller.at)))
    form_key = read_form_key()
    message, list_path, link_label = "The form created the agent.", "/agents/{id}", "The page of the agent"
    try:
        agent_values = forms.load(NewAgentSchema(), _read_body())
        with begin_creation(caller, SCOPE, form_key, message=message, path=list_path, label=link_label) as transaction:
            agent = add_agent(transaction, **agent_values, max_agents=caller.settings.max_agents)
            store_created_id(transaction, form_key, agent.agent_id)
    except (ValidationError, Conflict) as error:
        return _show_form(caller, _form_with_errors(error, form_key.text), status=error.status)
    return pages.see_other(f"/agents/{agent.agent_id}")


@pages.blueprint.route("/dashboard/agents/<uuid:agent_id>/edit", methods=["GET", "POST"])
@session.required_to(SCOPE)
def edit_agent(caller: Caller, agent_id: UUID) -> Response:
    """Show the form with the agent's current values, or change the agent and redirect to the agent's page."""
    if request.method != "POST":
        return _show_form(caller, None, agent_id)
    try:
        # The schema of a new agent applies, because the form sends all members, even unchanged ones.
        change = forms.load(NewAgentSchema(), _read_body())
        with session.begin_change(caller, SCOPE) as transaction:
            update_agent(transaction, agent_id, change)
    except (ValidationError, Conflict) as error:
        return _show_form(caller, _form_with_errors(error), agent_id, error.status)
    return pages.see_other(f"/agents/{agent_id}")


def _read_body() -> dict[str, Any]:
    return forms.build_body(MEMBERS, forms.read_fields(MEMBERS)) | {"scopes": request.form.getlist("scopes")}


def _form_with_errors(error: ValidationError | Conflict, form_key: str | None = None) -> Form:
    values = forms.read_fields(MEMBERS) | {"scopes": request.form.getlist("scopes")}
    return Form(values, forms.errors(error, LABELS), form_key)


def _show_form(caller: Caller, form: Form | None, agent_id: UUID | None = None, status: int = 200) -> Response:
    """Return the page with the form for an agent.

    :param form: the content of the form; ``None`` for the agent's current values.
    :param agent_id: the agent that is edited; ``None`` for a new agent.
    """
    agent_calls = [Call("agents/get_agent", {"agent_id": agent_id})] if agent_id else []
    servers, *agent_rows = caller.read_together(Call("oauth/list_resource_servers", {}), *agent_calls)
    agent = require_row(agent_rows[0]) if agent_rows else None
    if form is None and agent is not None:
        form = Form(forms.format_values(MEMBERS, represent(agent)) | {"scopes": agent.scopes})
    registered_scopes = {*SCOPES, *(scope for server in servers for scope in server.scopes)}
    return pages.page(
        "agent_form.html",
        status,
        here="agents",
        form=form,
        agent=agent,
        own_scopes=SCOPES,
        servers=[server for server in servers if server.scopes],
        unregistered=[scope for scope in (agent.scopes if agent else ()) if scope not in registered_scopes],
        is_own=agent_id is not None and agent_id == caller.agent_id,
        members=MEMBERS,
    )
