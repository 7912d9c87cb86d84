"""``/authorize``: the authorization endpoint, the return from the OpenID Connect provider, and the consent form."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

import flask
from flask import Blueprint, Flask, Response, g, request

from agentidp.audit import INSTANCE
from agentidp.authorization import client_documents, consent, decision, person_page
from agentidp.authorization.consent import Consent
from agentidp.authorization.person_page import Visit
from agentidp.authorization.requests import AuthorizationRequest, find_organization_id, read_request
from agentidp.caller import public, wait_for_turn
from agentidp.dashboard import pages
from agentidp.dashboard.oidc_sign_in import log_refusal, send_to_provider
from agentidp.http.error_rendering import register_error_pages
from agentidp.http.errors import ApiError, NotFound, OAuthError, RateLimited, ValidationError
from agentidp.openid.claims import SignInRefused, read_name, read_subject
from agentidp.openid.flows import AUTHORIZATION as PATH
from agentidp.openid.organization_provider import get_callback_provider, get_provider
from agentidp.openid.provider import Provider
from agentidp.registry.organizations import find_organization
from agentidp.services import services

blueprint = Blueprint("authorization", __name__, template_folder="templates")
blueprint.before_request(pages.refuse_other_sites)

# The consent page has no scripts. Chromium would apply form-action to each redirect after a form, including redirects
# by the app.
_CONSENT_POLICY = pages.build_content_policy(
    {name: value for name, value in pages.CONTENT_POLICY.items() if name not in ("script-src", "form-action")}
)


@blueprint.after_request
def set_security_headers(response: Response) -> Response:
    """Set the security headers of a response, and forbid caching."""
    pages.add_security_headers(response)
    # Cross-Origin-Opener-Policy would disconnect a window for the sign-in from the client that opened it.
    del response.headers["Cross-Origin-Opener-Policy"]
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get(PATH)
@public
def authorize() -> Response:
    """Redirect the browser to the provider at which the person signs in."""
    query_string = request.query_string.decode("latin-1")
    provider = get_provider(find_organization_id(read_request(query_string, g.at)), g.at)
    return send_to_provider(provider, provider.begin_sign_in(PATH, f"{PATH}?{query_string}", g.at))


@blueprint.get(f"{PATH}/callback")
@blueprint.get(f"{PATH}/callback/<organization_id>", endpoint="callback_of_organization")
@public
def callback(organization_id: str | None = None) -> Response:
    """Show the consent form, or the person's grants, to the person whom the provider has signed in.

    :param organization_id: the organization that has the provider; ``None`` for the provider of the instance.
    """
    # Programs check by HEAD whether an address exists, which must not use up the authorization code.
    if request.method == "HEAD":
        return Response(status=200)
    provider = get_callback_provider(organization_id, g.at)
    claims, return_target = provider.complete_sign_in(PATH, g.at)
    return_path, _, authorization_query = return_target.partition("?")
    try:
        if return_path == person_page.PATH:
            return _show_own_grants(provider, claims)
        return _ask_for_consent(provider, claims, authorization_query)
    except RateLimited as limited:
        # Repeating this request would fail, because the provider's code has been used, so the sign-in begins again.
        refresh_header = f"2; url={services().settings.issuer}{return_target}"
        retry_message = f"{limited.message} This page tries again by itself."
        raise SignInRefused(503, retry_message, {"Retry-After": "2", "Refresh": refresh_header}) from None


def _ask_for_consent(provider: Provider, claims: dict[str, Any], authorization_query: str) -> Response:
    """Show the consent form for the authorization request *authorization_query*, or send its error to the client."""
    authorization_request = read_request(authorization_query, g.at)
    organization_id = authorization_request.organization_id
    if authorization_request.client_uri:
        # An app with a client ID metadata document belongs to no organization, so the person's organization is used.
        organization_id = provider.find_organization_id(claims)
    _check_member(provider, claims, organization_id)
    _enter_organization(organization_id)
    authorization_request = decision.find_resource(authorization_request, organization_id, g.at)
    try:
        if authorization_request.client_uri:
            authorization_request = client_documents.admit_app(authorization_request, organization_id, claims, g.at)
        authorization_request.check_parameters()
        offer = decision.find_offer(authorization_request, claims, g.at)
    except OAuthError as error:
        return _redirect(authorization_request.build_redirect(error=error.error, error_description=error.description))
    except decision.NoRule as refused:
        refusal_description = "no rule lets the agent act for the person"
        refusal_uri = authorization_request.build_redirect(error="access_denied", error_description=refusal_description)
        return pages.page(
            "authorization_refused.html",
            403,
            refused=refused,
            resource=authorization_request.resource,
            leave=refusal_uri,
        )
    consent_form = Consent.create(
        provider,
        claims,
        organization_id,
        g.at,
        agent_id=str(authorization_request.agent_id),
        redirect_uri=authorization_request.redirect_uri,
        parameters=authorization_request.parameters,
        rule_id=str(offer.rule_id),
        scopes=offer.scopes,
        days=offer.days,
        form_id=secrets.token_hex(16),
    )
    return _render_consent_form(authorization_request, offer, consent_form)


@blueprint.get(person_page.PATH)
@public
def see_grants() -> Response:
    """Redirect the browser to the provider. After the sign-in, :func:`callback` shows the person's grants."""
    provider = get_provider(request.args.get("organization"), g.at)
    return_target = person_page.PATH + (f"?organization={provider.organization_id}" if provider.organization_id else "")
    return send_to_provider(provider, provider.begin_sign_in(PATH, return_target, g.at))


@blueprint.post(person_page.PATH)
@public
def end_grant() -> Response:
    """End a grant of the person, and show the remaining grants."""
    visit_form = Visit.decrypt(request.form.get("visit", ""), g.at)
    _enter_organization(visit_form.organization_id)
    try:
        grant_id = UUID(request.form.get("grant", ""))
    except ValueError:
        raise ValidationError("Choose what to end by its button.") from None
    try:
        person_page.end_own_grant(visit_form, grant_id, g.at)
    except NotFound:
        # The notice is the same for grants of other people, so that nobody learns which grants exist.
        return person_page.show_grants(visit_form, g.at, notice="This permission had already ended.")
    return person_page.show_grants(visit_form, g.at)


def _show_own_grants(provider: Provider, claims: dict[str, Any]) -> Response:
    organization_id = provider.find_organization_id(claims)
    if find_organization(services().database, organization_id, g.at) is None:
        raise SignInRefused(403, "Your account belongs to no organization here.")
    _enter_organization(organization_id)
    return person_page.show_grants(Visit.create(provider, claims, organization_id, g.at), g.at)


def _enter_organization(organization_id: str) -> None:
    """Log the organization with the request, and wait in the fair queue until the request may run."""
    g.organization_id = organization_id
    try:
        wait_for_turn(organization_id)
    except RateLimited as limited:
        if request.method == "POST":
            limited.message += " Your answer was not stored. Reload this page to send it again."
        raise


def _check_member(provider: Provider, claims: dict[str, Any], organization_id: str) -> None:
    """Raise ``SignInRefused`` if a person does not belong to an organization."""
    subject, person_name = read_subject(claims), read_name(claims)
    if not provider.has_member(claims, organization_id):
        provider_owner_id = provider.organization_id or INSTANCE
        log_refusal(provider_owner_id, provider.settings.issuer, subject, person_name, "other organization", g.at)
        raise SignInRefused(403, "This app belongs to an organization, and your account does not belong to it.")


def _render_consent_form(requested: AuthorizationRequest, offer: decision.Offer, form: Consent) -> Response:
    response = pages.page(
        "authorization_consent.html",
        offer=offer,
        requested=requested,
        person=form.name or form.person,
        consent=form.seal(),
        action=f"{services().settings.issuer}{PATH}",
    )
    response.headers["Content-Security-Policy"] = _CONSENT_POLICY
    return response


@blueprint.post(PATH)
@public
def store_answer() -> Response:
    """Store the answer in the consent form, and redirect the browser to the client with a code or the refusal."""
    consent_form = Consent.decrypt(request.form.get("consent", ""), g.at)
    _enter_organization(consent_form.organization_id)
    authorization_request = consent_form.requested
    match request.form.get("answer"):
        case "allow":
            return _redirect(authorization_request.build_redirect(code=consent.allow_access(consent_form, g.at)))
        case "refuse":
            consent.refuse_access(consent_form, g.at)
            refusal_parameters = {"error": "access_denied", "error_description": "the person has refused"}
            return _redirect(authorization_request.build_redirect(**refusal_parameters))
    raise ValidationError("Answer by one of the two buttons.")


def _redirect(client_url: str) -> Response:
    """Redirect with status 303, so that the browser does not send the form to the client (RFC 9700 section 4.12)."""
    response = flask.redirect(client_url, 303)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response  # type: ignore[return-value]


def _render_error(error: ApiError) -> Response:
    page_title = pages.TITLES.get(error.status, pages.TITLES[500])
    response = pages.page("authorization_error.html", error.status, title=page_title, message=error.message)
    response.headers.update(error.headers)
    return response


def init_app(app: Flask) -> None:
    """Register the pages of authorization and their error pages."""
    app.register_blueprint(blueprint)
    register_error_pages(app, PATH, _render_error)
