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
from agentidp.authorization.sealed_form import browser
from agentidp.caller import public, wait_for_turn
from agentidp.dashboard import pages
from agentidp.dashboard.cross_origin import refuse_cross_origin
from agentidp.dashboard.oidc_sign_in import lead_to, record_refusal
from agentidp.http.error_rendering import render_pages
from agentidp.http.errors import ApiError, OAuthError, ValidationError
from agentidp.openid.claims import NoAccess, name_of, subject_of
from agentidp.openid.flows import AUTHORIZATION as PATH
from agentidp.openid.organization_provider import provider_for, provider_of_callback
from agentidp.openid.provider import Provider, SignInRefused
from agentidp.registry.organizations import find_organization
from agentidp.services import services

# Leaves out Cross-Origin-Opener-Policy, which would disconnect a window for the sign-in from the client that opened it.
SECURITY = {name: value for name, value in pages.SECURITY.items() if name != "Cross-Origin-Opener-Policy"}

blueprint = Blueprint("authorization", __name__, template_folder="templates")


@blueprint.before_request
def refuse_other_sites() -> None:
    """Refuse a consent form that a page of another site has sent."""
    refuse_cross_origin(request)


@blueprint.after_request
def secure(response: Response) -> Response:
    """Set the security headers of a response, and forbid caching."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Cross-Origin-Opener-Policy", None)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get(PATH)
@public
def authorize() -> Response:
    """Redirect the browser to the provider at which the person signs in."""
    query = request.query_string.decode("latin-1")
    provider = provider_for(find_organization_id(read_request(query, g.at)), g.at)
    return lead_to(provider, provider.begin(PATH, query))


@blueprint.get(f"{PATH}/callback")
@blueprint.get(f"{PATH}/callback/<organization_id>", endpoint="callback_of_organization")
@public
def callback(organization_id: str | None = None) -> Response:
    """Show the consent form, or the person's grants, to the person whom the provider has signed in.

    :param organization_id: the organization that has the provider; ``None`` for the provider of the instance.
    """
    # A HEAD request must not consume the code, because programs use it to check whether an address exists.
    if request.method == "HEAD":
        return Response(status=200)
    provider = provider_of_callback(organization_id, g.at)
    claims, query = provider.complete(PATH, g.at)
    if query == person_page.RETURN_TO:
        return _own_grants(provider, claims)
    requested = read_request(query, g.at)
    organization_id = requested.organization_id
    if requested.client_uri:
        # Uses the organization of the person, because an app with a document belongs to no organization.
        try:
            organization_id = provider.organization_of(claims)
        except NoAccess as refused:
            raise SignInRefused(403, refused.message) from None
    person, name = _require_member(provider, claims, organization_id)
    g.organization_id = organization_id
    wait_for_turn(organization_id)
    if requested.client_uri:
        requested = client_documents.admit(requested, organization_id, claims, g.at)
    try:
        requested.check()
        offer = decision.decide(requested, claims, g.at)
    except OAuthError as error:
        return _lead(requested.response(error=error.error, error_description=error.description))
    except decision.NoRule as refused:
        leave = requested.response(error="access_denied", error_description="no rule lets the agent act for the person")
        return pages.page("authorization_refused.html", 403, refused=refused, resource=requested.resource, leave=leave)
    asked = Consent(
        query=query,
        organization_id=requested.organization_id,
        issuer=provider.settings.issuer,
        person=person,
        name=name,
        rule_id=str(offer.rule_id),
        scopes=offer.scopes,
        days=offer.days,
        asked_at=int(g.at.timestamp()),
        browser=browser(),
        form_id=secrets.token_hex(16),
        provider_version=provider.version,
    )
    return _consent_page(requested, offer, asked)


@blueprint.get(person_page.PATH)
@public
def see_grants() -> Response:
    """Redirect the browser to the provider. After the sign-in, :func:`callback` shows the person's grants."""
    provider = provider_for(request.args.get("organization"), g.at)
    return lead_to(provider, provider.begin(PATH, person_page.RETURN_TO))


@blueprint.post(person_page.PATH)
@public
def end_grant() -> Response:
    """End a grant of the person, and show the remaining grants."""
    visit = Visit.read(request.form.get("visit", ""), g.at)
    g.organization_id = visit.organization_id
    wait_for_turn(visit.organization_id)
    try:
        grant_id = UUID(request.form.get("grant", ""))
    except ValueError:
        raise ValidationError("Choose what to end by its button.") from None
    person_page.end(visit, grant_id, g.at)
    return person_page.show(visit, g.at)


def _own_grants(provider: Provider, claims: dict[str, Any]) -> Response:
    try:
        person, organization_id = subject_of(claims), provider.organization_of(claims)
    except NoAccess as refused:
        raise SignInRefused(403, refused.message) from None
    if find_organization(services().database, organization_id, g.at) is None:
        raise SignInRefused(403, "Your account belongs to no organization here.")
    g.organization_id = organization_id
    wait_for_turn(organization_id)
    asked_at = int(g.at.timestamp())
    issuer = provider.settings.issuer
    visit = Visit(organization_id, issuer, person, name_of(claims), asked_at, browser(), provider.version)
    return person_page.show(visit, g.at)


def _require_member(provider: Provider, claims: dict[str, Any], organization_id: str) -> tuple[str, str | None]:
    """Return the ``sub`` and the name of a person who belongs to an organization.

    :raises SignInRefused: the person does not belong to the organization.
    """
    try:
        person = subject_of(claims)
    except NoAccess as refused:
        raise SignInRefused(403, refused.message) from None
    name = name_of(claims)
    if not provider.has_member(claims, organization_id):
        chain = provider.organization_id or INSTANCE
        record_refusal(chain, provider.settings.issuer, person, name, "other organization", g.at)
        raise SignInRefused(403, "This app belongs to an organization, and your account does not belong to it.")
    return person, name


def _consent_page(requested: AuthorizationRequest, offer: decision.Offer, asked: Consent) -> Response:
    response = pages.page(
        "authorization_consent.html",
        offer=offer,
        requested=requested,
        person=asked.name or asked.person,
        consent=asked.sealed(),
        action=f"{services().settings.issuer}{PATH}",
    )
    # Adds the redirect URI to form-action, because browsers also apply form-action to the redirect after the form.
    targets = f"form-action 'self' {requested.form_target}"
    policy = SECURITY["Content-Security-Policy"].replace("form-action 'self'", targets)
    response.headers["Content-Security-Policy"] = policy.replace("script-src 'self'; ", "")
    return response


@blueprint.post(PATH)
@public
def answer() -> Response:
    """Store the answer in the consent form, and redirect the browser to the client with a code or the refusal."""
    asked = Consent.read(request.form.get("consent", ""), g.at)
    g.organization_id = asked.organization_id
    wait_for_turn(asked.organization_id)
    requested = read_request(asked.query, g.at)
    if requested.client_uri:
        requested = client_documents.find_client(requested, asked.organization_id, g.at)
    match request.form.get("answer"):
        case "allow":
            code = consent.allow(asked, requested.agent_id, requested.parameters, requested.redirect_uri, g.at)
            return _lead(requested.response(code=code))
        case "refuse":
            consent.refuse(asked, requested.agent_id, g.at)
            return _lead(requested.response(error="access_denied", error_description="the person has refused"))
    raise ValidationError("Answer by one of the two buttons.")


def _lead(address: str) -> Response:
    """Redirect the browser to the client by 303, because by 307 the client would receive the form (RFC 9700)."""
    response = flask.redirect(address, 303)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response  # type: ignore[return-value]


def _error_page(error: ApiError) -> Response:
    title = pages.TITLES.get(error.status, pages.TITLES[500])
    response = pages.page("authorization_error.html", error.status, title=title, message=error.message)
    response.headers.update(error.headers)
    return response


def init_app(app: Flask) -> None:
    """Register the pages of authorization and their error pages."""
    app.register_blueprint(blueprint)
    render_pages(app, PATH, _error_page)
