"""``/dashboard/agents/new`` and ``/dashboard/agents/{agentId}/edit``: the forms of an agent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
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
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.registry.agents import NewAgentSchema, add_agent, represent, update_agent
from agentidp.scopes import DEFAULT_SCOPES, SCOPES

SCOPE = "agents:write"

MEMBERS = forms.members(NewAgentSchema(exclude=("scopes",)))
"""Fields of the form, without the scopes, which the form groups by API."""

LABELS = forms.labels(forms.members(NewAgentSchema()))

NEW = forms.default_values(MEMBERS) | {"scopes": DEFAULT_SCOPES}
"""Content of the form for a new agent."""

blueprint = pages.new_blueprint("dashboard-agent-form", __name__)


@blueprint.get("/dashboard/agents/new")
@session.required_to(SCOPE)
def new_agent(caller: Caller) -> Response:
    """Show the form for a new agent."""
    return _page(caller, Form(NEW, form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/agents/new")
@session.required_to(SCOPE)
def create_agent(caller: Caller) -> Response:
    """Create an agent, and redirect to the agent's page."""
    key = read_form_key()
    try:
        new = forms.load(NewAgentSchema(), _body(_sent()))
        with begin_creation(caller, SCOPE, key) as transaction:
            agent = add_agent(transaction, **new, most=caller.settings.max_agents)
            store_created_id(transaction, key, agent.agent_id)
    except SentBefore as before:
        path = f"/agents/{before.created_id}"
        return sent_before("It created the agent.", path=path, label="The page of the agent")
    except (ValidationError, Conflict) as refused:
        return _page(caller, _refused(refused, key.text), status=refused.status)
    return pages.see_other(f"/agents/{agent.agent_id}")


@blueprint.get("/dashboard/agents/<uuid:agent_id>/edit")
@session.required_to(SCOPE)
def edit_agent(caller: Caller, agent_id: UUID) -> Response:
    """Show the form with the agent's current values."""
    return _page(caller, None, agent_id)


@blueprint.post("/dashboard/agents/<uuid:agent_id>/edit")
@session.required_to(SCOPE)
def change_agent(caller: Caller, agent_id: UUID) -> Response:
    """Change the agent, and redirect to the agent's page."""
    try:
        change = forms.load(NewAgentSchema(), _body(_sent()))
        with session.begin_change(caller, SCOPE) as transaction:
            update_agent(transaction, agent_id, change)
    except (ValidationError, Conflict) as refused:
        return _page(caller, _refused(refused), agent_id, refused.status)
    return pages.see_other(f"/agents/{agent_id}")


def _sent() -> dict[str, Any]:
    return forms.read_fields(MEMBERS) | {"scopes": request.form.getlist("scopes")}


def _body(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the body for the API. The form of an existing agent sends all members, changed or not."""
    return forms.build_body(MEMBERS, sent) | {"scopes": sent["scopes"]}


def _refused(refused: ValidationError | Conflict, form_key: str | None = None) -> Form:
    return Form(_sent(), forms.errors(refused, LABELS), form_key)


def _page(caller: Caller, form: Form | None, agent_id: UUID | None = None, status: int = 200) -> Response:
    """Return the page with the form.

    :param form: the content of the form; ``None`` for the agent's current values.
    :param agent_id: the agent that is edited; ``None`` for a new agent.
    """
    calls = [Call("agents/get_agent", {"agent_id": agent_id})] if agent_id else []
    servers, *agents = caller.read_together(Call("oauth/list_resource_servers", {}), *calls)
    agent = existing(agents[0]) if agents else None
    if form is None and agent is not None:
        form = Form(forms.format_values(MEMBERS, represent(agent)) | {"scopes": agent.scopes})
    known = {*SCOPES, *(scope for server in servers for scope in server.scopes)}
    return pages.page(
        "agent_form.html",
        status,
        here="agents",
        form=form,
        agent=agent,
        own_scopes=SCOPES,
        servers=[server for server in servers if server.scopes],
        unregistered=[scope for scope in (agent.scopes if agent else ()) if scope not in known],
        is_own=agent_id is not None and agent_id == caller.agent_id,
        members=MEMBERS,
    )
