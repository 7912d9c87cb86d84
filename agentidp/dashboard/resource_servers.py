"""``/dashboard/resource-servers``: the APIs for which agents get tokens, and the agents that have their scopes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics import impact
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.form_key import AlreadySent, begin_creation, open_form, store_created_id
from agentidp.dashboard.forms import Form
from agentidp.db.sql import Call
from agentidp.http.errors import require_row
from agentidp.http.schemas import Member
from agentidp.registry.agents import resolve_agent_ids
from agentidp.registry.resource_servers import (
    NewResourceServerSchema,
    ResourceServerChangeSchema,
    add_resource_server,
    remove_resource_server,
    represent,
    update_resource_server,
)

SCOPE, READING = "agents:write", "agents:read"

MAX_HOLDERS = 50
"""Maximum number of agents per table on a resource server's page."""

MEMBERS, CHANGEABLE = forms.members(NewResourceServerSchema()), forms.members(ResourceServerChangeSchema())
"""Fields of the forms for a new and for an existing resource server."""

SHOWN = forms.members(ResourceServerChangeSchema(exclude=("name", "scopes", "agentId")))
"""Members of a resource server that have a line of their own on the resource server's page."""


@pages.blueprint.get("/dashboard/resource-servers")
@session.required_to(READING, SCOPE)
def list_resource_servers(caller: Caller) -> Response:
    """Show the resource servers, oldest first, with the number of agents that have at least one of their scopes."""
    servers, scope_lists = caller.read_together(
        Call("oauth/list_resource_servers", {}), Call("dashboard/scope_lists", {})
    )
    agent_counts = [
        sum(scope_list.agents for scope_list in scope_lists if not set(scope_list.scopes).isdisjoint(server.scopes))
        for server in servers
    ]
    return _page("resource_servers.html", servers=list(zip(servers, agent_counts, strict=True)))


@pages.blueprint.route("/dashboard/resource-servers/new", methods=["GET", "POST"])
@session.required_to(SCOPE)
def new_resource_server(caller: Caller) -> Response:
    """Show the form for a new resource server, or register it and redirect to its page."""
    form = open_form(caller, MEMBERS)
    if request.method == "POST":
        repeat_message, page_path = "The form registered the resource server.", "/resource-servers/{id}"
        repeat_error = AlreadySent(repeat_message, page_path, "The page of the resource server")
        with form.catch_refusal(forms.labels(MEMBERS)):
            server_values = forms.load(NewResourceServerSchema(), _build_body(caller, MEMBERS, form.values))
            with begin_creation(caller, SCOPE, form, repeat_error) as transaction:
                server = add_resource_server(transaction, caller.settings, **server_values)
                store_created_id(transaction, form, server.resource_server_id)
            return pages.see_other(f"/resource-servers/{server.resource_server_id}")
    return _page("resource_server_form.html", form.status, form=form, server=None, members=MEMBERS)


@pages.blueprint.get("/dashboard/resource-servers/<uuid:resource_server_id>")
@session.required_to(READING, SCOPE)
def show_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Show a resource server, the agents that got tokens for it, and the agents that have its scopes."""
    template_context = _read_server(caller, resource_server_id)
    server_impact = _read_impact(caller, template_context["server"])
    return _page(
        "resource_server.html",
        **template_context,
        members=SHOWN,
        takers=server_impact.receiving_agents[:MAX_HOLDERS],
        taker_count=len(server_impact.receiving_agents),
        tokens=server_impact.tokens,
        impact_days=impact.DAYS,
    )


@pages.blueprint.route("/dashboard/resource-servers/<uuid:resource_server_id>/edit", methods=["GET", "POST"])
@session.required_to(SCOPE)
def edit_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Show the form with the resource server's current values, or change it and redirect to its page."""
    server = require_row(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    form = Form(forms.format_values(CHANGEABLE, represent(server)) | {"agentId": server.agent_name or ""})
    if request.method == "POST":
        form = Form(forms.read_fields(CHANGEABLE))
        with form.catch_refusal(forms.labels(CHANGEABLE)):
            change = forms.load(ResourceServerChangeSchema(), _build_body(caller, CHANGEABLE, form.values))
            with session.begin_change(caller, SCOPE) as transaction:
                update_resource_server(transaction, caller.settings, resource_server_id, change)
            return pages.see_other(f"/resource-servers/{resource_server_id}")
    return _page("resource_server_form.html", form.status, form=form, server=server, members=CHANGEABLE)


@pages.blueprint.route("/dashboard/resource-servers/<uuid:resource_server_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Show what deleting a resource server would do and ask for confirmation, or delete it."""
    if request.method == "POST":
        return pages.change_and_redirect(caller, SCOPE, "/resource-servers", remove_resource_server, resource_server_id)
    template_context = _read_server(caller, resource_server_id)
    impact_sentences = _read_impact(caller, template_context["server"]).summary
    return _page("confirm_resource_server.html", **template_context, sentences=impact_sentences)


def _read_impact(caller: Caller, server: Any) -> impact.Impact:
    return impact.read_resource_server_impact(caller.read_together, server, caller.at, caller.settings.token_ttl)


def _read_server(caller: Caller, resource_server_id: UUID) -> dict[str, Any]:
    server = require_row(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    scope_holders = caller.read("dashboard/scope_holders", scopes=server.scopes, limit=MAX_HOLDERS)
    return {"server": server, "holders": scope_holders, "count": scope_holders[0].matches if scope_holders else 0}


def _build_body(caller: Caller, members: list[Member], values: dict[str, Any]) -> dict[str, Any]:
    """Return the API's request body for a form, with the agent's id in place of the agent's name."""
    body = forms.build_body(members, values)
    if body["agentId"]:
        [body["agentId"]] = resolve_agent_ids("agentId", [body["agentId"]], caller.read_together)
    return body


def _page(template: str, status: int = 200, **context: Any) -> Response:
    return pages.page(template, status, here="resource-servers", **context)
