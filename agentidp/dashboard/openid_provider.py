"""``/dashboard/openid-provider``: the organization's own OpenID provider, at which its people sign in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics.impact import build_count_grants_call, describe_ended_sign_ins
from agentidp.caller import Caller
from agentidp.dashboard import forms, pages, session
from agentidp.dashboard.forms import Form
from agentidp.http.errors import Conflict
from agentidp.openid.flows import PATHS
from agentidp.openid.provider import build_callback_url
from agentidp.registry.openid_providers import (
    NewOpenidProviderSchema,
    OpenidProviderChangeSchema,
    add_provider,
    find_provider,
    remove_provider,
    represent,
    update_provider,
)

SCOPE, READING = "agents:write", "agents:read"

MEMBERS, CHANGEABLE = forms.members(NewOpenidProviderSchema()), forms.members(OpenidProviderChangeSchema())
"""Fields of the forms for a new and for an existing provider."""

SHOWN = forms.members(NewOpenidProviderSchema(exclude=["clientSecret"]))


@pages.blueprint.get("/dashboard/openid-provider")
@session.required_to(READING, SCOPE)
def openid_provider(caller: Caller) -> Response:
    """Show the provider, the redirect URIs to register there, and the addresses for people of the organization."""
    rows = caller.read("openid/get_provider")
    return _show_provider(caller, "openid_provider.html", provider=rows[0] if rows else None, members=SHOWN)


@pages.blueprint.route("/dashboard/openid-provider/edit", methods=["GET", "POST"])
@session.required_to(SCOPE)
def edit_openid_provider(caller: Caller) -> Response:
    """Show the form for the provider, or add or change the provider and redirect to its page."""
    provider_rows = caller.read("openid/get_provider")
    provider = provider_rows[0] if provider_rows else None
    members = CHANGEABLE if provider else MEMBERS
    form = Form(forms.format_values(members, represent(provider)) if provider else forms.default_values(members))
    if request.method == "POST":
        form = Form(forms.read_fields(members))
        with form.catch_refusal(forms.labels(members)):
            _store_provider(caller, provider, forms.build_body(members, form.values))
            return pages.see_other("/openid-provider")
    # A page never shows the secret.
    form.values["clientSecret"] = ""
    template = "openid_provider_form.html"
    return _show_provider(caller, template, form.status, form=form, members=members, provider=provider)


def _store_provider(caller: Caller, provider: Any, body: dict[str, Any]) -> None:
    """Add or change the provider. Raise :exc:`Conflict` if another provider was added since the form was opened."""
    schema = OpenidProviderChangeSchema() if provider else NewOpenidProviderSchema()
    if provider:
        if request.form.get("provider", str(provider.openid_provider_id)) != str(provider.openid_provider_id):
            raise Conflict("The organization has another OpenID provider now. Open this page again.")
        if not body["clientSecret"]:
            # The form does not show the stored secret, so an empty field means that the secret does not change.
            del body["clientSecret"]
    provider_values = forms.load(schema, body)
    with session.begin_change(caller, SCOPE) as transaction:
        if provider:
            update_provider(transaction, caller.settings, provider.openid_provider_id, provider_values)
        else:
            add_provider(transaction, caller.settings, **provider_values)


@pages.blueprint.route("/dashboard/openid-provider/<uuid:openid_provider_id>/delete", methods=["GET", "POST"])
@session.required_to(SCOPE)
def delete_openid_provider(caller: Caller, openid_provider_id: UUID) -> Response:
    """Show the consequences of deleting the provider and ask for confirmation, or delete it."""
    if request.method == "POST":
        return pages.change_and_redirect(caller, SCOPE, "/openid-provider", remove_provider, openid_provider_id)
    provider = find_provider(caller.read("openid/get_provider"), openid_provider_id)
    [[grant_count_row]] = caller.read_together(build_count_grants_call(issuer=provider.issuer))
    ended_sign_ins_text = describe_ended_sign_ins(provider.issuer, grant_count_row.grants)
    return _show_provider(caller, "confirm_openid_provider.html", provider=provider, sentence=ended_sign_ins_text)


def _show_provider(caller: Caller, template: str, status: int = 200, **context: Any) -> Response:
    own_issuer, organization_id = caller.settings.issuer, caller.organization_id
    return pages.page(
        template,
        status,
        here="openid-provider",
        callbacks=[build_callback_url(caller.settings, callback_path, organization_id) for callback_path in PATHS],
        sign_in=f"{own_issuer}{PATHS[0]}?organization={organization_id}",
        own_grants=f"{own_issuer}/authorize/grants?organization={organization_id}",
        **context,
    )
