"""``/dashboard/resource-servers``: the APIs for which agents get tokens, and the agents that have their scopes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import impact
from agentidp.analytics.attribution import read_attribution
from agentidp.analytics.period import Period
from agentidp.analytics.resource_usage import used_resources
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
from agentidp.http.schemas import Member
from agentidp.registry.agents import ids_of
from agentidp.registry.resource_servers import (
    NewResourceServerSchema,
    ResourceServerChangeSchema,
    add_resource_server,
    remove_resource_server,
    represent,
    update_resource_server,
)

SCOPE, READING = "agents:write", "agents:read"

DAYS = 30
"""Number of days, today included, whose tokens the list shows."""

MAX_HOLDERS = 50
"""Maximum number of agents per table on the page of a resource server."""

MEMBERS, CHANGEABLE = forms.members(NewResourceServerSchema()), forms.members(ResourceServerChangeSchema())
"""Fields of the forms for a new and for an existing resource server."""

SHOWN = forms.members(ResourceServerChangeSchema(exclude=("name", "scopes", "agentId")))
"""Members that have their own line on the page."""

blueprint = pages.new_blueprint("dashboard-resource-servers", __name__)


@blueprint.get("/dashboard/resource-servers")
@session.required_to(READING, SCOPE)
def resource_servers(caller: Caller) -> Response:
    """Show the resource servers, oldest first, with the number of agents that have at least one of their scopes, and
    their tokens. Below are the tokens for our own API, for deleted resource servers, and without attribution.
    """
    calls = Call("oauth/list_resource_servers", {}), Call("dashboard/scope_lists", {})
    found, [servers, lists] = read_attribution(caller, Period.of(DAYS, caller.at), None, *calls)
    held = [(frozenset(row.scopes), row.agents) for row in lists]
    counts = [sum(agents for scopes, agents in held if not scopes.isdisjoint(server.scopes)) for server in servers]
    used = used_resources(found, servers)
    by_resource = {one.resource: one for one in used}
    return _page(
        "resource_servers.html",
        servers=[(server, n, by_resource[server.resource]) for server, n in zip(servers, counts, strict=True)],
        others=[one for one in used if one.server is None],
        own_resource=caller.settings.resource,
        days=DAYS,
    )


@blueprint.get("/dashboard/resource-servers/new")
@session.required_to(SCOPE)
def new_resource_server(caller: Caller) -> Response:
    """Show the form for a new resource server."""
    return _form(Form(forms.default_values(MEMBERS), form_key=new_form_key(caller.at)))


@blueprint.post("/dashboard/resource-servers/new")
@session.required_to(SCOPE)
def create_resource_server(caller: Caller) -> Response:
    """Register a resource server, and redirect to its page."""
    sent, key = forms.read_fields(MEMBERS), read_form_key()
    try:
        new = forms.load(NewResourceServerSchema(), _body(caller, MEMBERS, sent))
        with begin_creation(caller, SCOPE, key) as transaction:
            server = add_resource_server(transaction, caller.settings, **new)
            store_created_id(transaction, key, server.resource_server_id)
    except SentBefore as before:
        path, label = f"/resource-servers/{before.created_id}", "The page of the resource server"
        return sent_before("It registered the resource server.", path=path, label=label)
    except (ValidationError, Conflict) as refused:
        return _form(Form(sent, forms.errors(refused, forms.labels(MEMBERS)), key.text), status=refused.status)
    return pages.see_other(f"/resource-servers/{server.resource_server_id}")


@blueprint.get("/dashboard/resource-servers/<uuid:resource_server_id>")
@session.required_to(READING, SCOPE)
def resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Show a resource server, the agents that got tokens for it, and the agents that have its scopes."""
    shown = _with_holders(caller, resource_server_id)
    broken = _impact(caller, shown["server"])
    return _page(
        "resource_server.html",
        **shown,
        members=SHOWN,
        takers=broken.takers[:MAX_HOLDERS],
        taker_count=len(broken.takers),
        tokens=broken.tokens,
        impact_days=impact.DAYS,
    )


@blueprint.get("/dashboard/resource-servers/<uuid:resource_server_id>/edit")
@session.required_to(SCOPE)
def edit_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Show the form with the current values of the resource server."""
    server = existing(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    named = {"agentId": server.agent_name or ""}
    return _form(Form(forms.format_values(CHANGEABLE, represent(server)) | named), server)


@blueprint.post("/dashboard/resource-servers/<uuid:resource_server_id>/edit")
@session.required_to(SCOPE)
def change_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Change the resource server, and redirect to its page."""
    sent = forms.read_fields(CHANGEABLE)
    try:
        change = forms.load(ResourceServerChangeSchema(), _body(caller, CHANGEABLE, sent))
        with session.begin_change(caller, SCOPE) as transaction:
            update_resource_server(transaction, caller.settings, resource_server_id, change)
    except (ValidationError, Conflict) as refused:
        server = existing(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
        return _form(Form(sent, forms.errors(refused, forms.labels(CHANGEABLE))), server, refused.status)
    return pages.see_other(f"/resource-servers/{resource_server_id}")


@blueprint.get("/dashboard/resource-servers/<uuid:resource_server_id>/delete")
@session.required_to(SCOPE)
def confirm_deletion(caller: Caller, resource_server_id: UUID) -> Response:
    """Show the consequences of deleting the resource server, and ask for confirmation."""
    shown = _with_holders(caller, resource_server_id)
    sentences = impact.sentences(_impact(caller, shown["server"]))
    return _page("confirm_resource_server.html", **shown, sentences=sentences)


@blueprint.post("/dashboard/resource-servers/<uuid:resource_server_id>/delete")
@session.required_to(SCOPE)
def delete_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Delete the resource server, and redirect to the list."""
    with session.begin_change(caller, SCOPE) as transaction:
        remove_resource_server(transaction, resource_server_id)
    return pages.see_other("/resource-servers")


def _impact(caller: Caller, server: Any) -> impact.Impact:
    return impact.read_resource_server_impact(caller.read_together, server, caller.at, caller.settings.token_ttl)


def _with_holders(caller: Caller, resource_server_id: UUID) -> dict[str, Any]:
    server = existing(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    holders = caller.read("dashboard/scope_holders", scopes=server.scopes, limit=MAX_HOLDERS)
    return {"server": server, "holders": holders, "count": holders[0].matches if holders else 0}


def _body(caller: Caller, members: list[Member], sent: dict[str, Any]) -> dict[str, Any]:
    """Return the body for the API, in which the id of the agent replaces its name."""
    body = forms.build_body(members, sent)
    if body["agentId"]:
        [body["agentId"]] = ids_of("agentId", [body["agentId"]], caller.read_together)
    return body


def _form(form: Form, server: Any = None, status: int = 200) -> Response:
    """Return the page with the form for *server*; ``None`` for a new resource server."""
    members = CHANGEABLE if server else MEMBERS
    return _page("resource_server_form.html", status, form=form, server=server, members=members)


def _page(template: str, status: int = 200, **context: Any) -> Response:
    return pages.page(template, status, here="resource-servers", **context)
